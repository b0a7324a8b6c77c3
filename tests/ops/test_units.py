import pytest
import torch

from tutelage.ops.units import unit_rows


def test_rows_have_length_one_and_their_direction():
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_rows(x), x / x.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, 1e38])
def test_squares_neither_vanish_nor_overflow(scale):
    torch.testing.assert_close(unit_rows(torch.tensor([[scale, scale]])), torch.full((1, 2), 0.5**0.5))


def test_a_row_without_direction_is_zero_and_has_no_gradient():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    unit = unit_rows(x, torch.tensor([True, True, False]))
    torch.testing.assert_close(unit, torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]]))
    (unit * torch.tensor([1.0, 0.0])).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[0.0, 0.0], [0.128, -0.096], [0.0, 0.0]]))


def test_the_gradient_is_that_of_finite_differences():
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, (x,))
