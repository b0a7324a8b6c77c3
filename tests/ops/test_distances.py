import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.ops import distances as module
from tutelage.ops.distances import distances, reciprocal

few = settings(max_examples=15, deadline=None)


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_distances_are_their_definition_as_loops():
    x = rows(0)
    expected = [[sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) ** 0.5 for v in x.tolist()] for u in x.tolist()]
    torch.testing.assert_close(distances(x).tolist(), expected, rtol=1e-12, atol=0.0)


@few
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 5))
def test_distances_are_symmetric_with_a_zero_diagonal_and_keep_the_triangle_inequality(seed, n, d):
    found = distances(rows(seed, n, d))
    assert torch.equal(found, found.T)
    assert found.diagonal().tolist() == [0.0] * n
    assert (found.unsqueeze(1) <= found.unsqueeze(2) + found.unsqueeze(0) + 1e-12).all()


@few
@given(st.integers(0, 10**6))
def test_moving_all_rows_changes_nothing_and_scaling_scales(seed):
    x = rows(seed)
    torch.testing.assert_close(distances(x + rows(seed + 1, 1)), distances(x))
    torch.testing.assert_close(distances(-3 * x), 3 * distances(x))


def test_the_gradient_is_that_of_finite_differences_also_the_second():
    x = rows(0, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(distances, (x,))
    assert torch.autograd.gradgradcheck(distances, (x,))


def test_the_gradient_is_that_of_differences_followed_by_autograd():
    x, weights = rows(0).requires_grad_(), rows(1, 6, 6)
    gaps = (x.unsqueeze(0) - x.unsqueeze(1) + torch.eye(6).unsqueeze(2)).norm(dim=2) * (1 - torch.eye(6))
    (expected,) = torch.autograd.grad((weights * gaps).sum(), x)
    (found,) = torch.autograd.grad((weights * distances(x)).sum(), x)
    torch.testing.assert_close(found, expected)


def test_what_other_devices_compute_is_what_the_cpu_computes():
    x = rows(0, 7, 5)
    torch.testing.assert_close(module._from_rows(x), module._from_pairs(x), rtol=1e-14, atol=0.0)


def test_coincident_rows_have_distance_zero_and_no_pull():
    x = rows(0).float()
    x[4] = x[1]
    x.requires_grad_()
    found = distances(x)
    assert found[1, 4] == found[4, 1] == 0
    (gradient,) = torch.autograd.grad(found[1, 4], x, retain_graph=True)
    assert gradient.abs().max() == 0
    (gradient,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(gradient[1], gradient[4])
    assert gradient.isfinite().all()


def test_a_batch_of_one_has_distance_zero_to_itself():
    x = rows(0, 1).requires_grad_()
    found = distances(x)
    assert found.tolist() == [[0.0]]
    assert torch.autograd.grad(found.sum(), x)[0].tolist() == [[0.0] * 4]


def test_an_offset_of_1000_costs_no_more_than_the_rounding_of_the_features():
    # 6e-5 is a step of float32 at 1000; the form with squares is up to 23 % wrong here.
    x = rows(0, 64, 32)
    torch.testing.assert_close(distances(x.float() + 1000).double(), distances(x), rtol=1e-4, atol=0.0)


def test_an_offset_of_1000_leaves_the_gradient_right():
    # 1.8e-5 off, of which most is rounding of the features; 1.4e-4 where the products are not centred first.
    gradients = []
    for shift in (0.0, 1000.0):
        x = (rows(0, 64, 32).float() + shift).requires_grad_()
        gradients.append(torch.autograd.grad(distances(x)[:8].sum(), x)[0])
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_as_float32_also_under_autocast(dtype):
    x = rows(0).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(distances(x), distances(x.float()))
        y = x.float().requires_grad_()
        (gradient,) = torch.autograd.grad(distances(y).sum(), y)
    (expected,) = torch.autograd.grad(distances(y).sum(), y)
    assert torch.equal(gradient, expected)


def test_the_reciprocal_is_zero_where_rows_coincide_in_any_unit():
    d = torch.tensor([[0.0, 1.0, 9e-7], [1.0, 0.0, 1.1e-6], [9e-7, 1.1e-6, 0.0]], dtype=torch.float64)
    for unit in (1e-20, 1.0, 1e20):
        found = unit * reciprocal(unit * d)
        assert found[0].tolist() == [0.0, 1.0, 0.0]
        assert found[1, 2].item() == pytest.approx(1 / 1.1e-6)


def test_the_reciprocal_of_nothing_but_zeros_is_zero_with_zero_gradient():
    d = torch.zeros(3, 3, requires_grad=True)
    reciprocal(d).sum().backward()
    assert reciprocal(d).abs().max() == 0
    assert d.grad.abs().max() == 0
