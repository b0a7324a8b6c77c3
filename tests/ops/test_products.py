import pytest
import torch

from tutelage.ops.products import products


def rows(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_every_row_meets_every_row(batch):
    x, y = rows(0, *batch, 4, 5), rows(1, *batch, 2, 5)
    torch.testing.assert_close(products(x, y), torch.einsum("...ad,...bd->...ab", x, y))


def test_the_gradient_is_that_of_finite_differences_once_and_twice():
    x, y = rows(0, 3, 4, 5).requires_grad_(), rows(1, 3, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(products, (x, y))
    assert torch.autograd.gradgradcheck(products, (x, y))


def test_autocast_lowers_neither_the_product_nor_its_gradient():
    x, y = rows(0, 4, 5).float().requires_grad_(), rows(1, 2, 5).float()
    expected = products(x, y)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = products(x, y)
        assert found.equal(expected)
        assert torch.autograd.grad(found.square().sum(), x)[0].equal(gradient)
        assert not (x @ y.T).float().equal(expected)


def test_what_needs_no_gradient_gets_none():
    x, y = rows(0, 4, 5).requires_grad_(), rows(1, 2, 5)
    products(x, y).sum().backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
