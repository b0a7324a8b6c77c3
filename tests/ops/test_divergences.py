import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.ops.divergences import kl

few = settings(max_examples=15, deadline=None)


def logits(seed, *shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@few
@given(st.integers(0, 10**6), st.sampled_from([torch.float32, torch.float64]))
def test_equal_distributions_have_no_divergence_and_no_gradient(seed, dtype):
    p = logits(seed, 4, 5).to(dtype).requires_grad_()
    for q in (p.detach(), p.detach() + 2):
        divergence = kl(q, p)
        (gradient,) = torch.autograd.grad(divergence.sum(), p)
        torch.testing.assert_close(divergence, torch.zeros(4, dtype=dtype), rtol=0.0, atol=1e-6)
        assert gradient.abs().max() < 1e-6


@few
@given(st.integers(0, 10**6), st.sampled_from([1e-4, 1e-2, 1.0]))
def test_the_divergence_is_not_below_zero_by_more_than_rounding(seed, step):
    p = logits(seed, 20, 10).float()
    assert kl(p, p + step * logits(seed + 1, 20, 10).float()).min() > -1e-6


@few
@given(st.integers(0, 10**6))
def test_logits_and_log_probabilities_give_the_same(seed):
    p, q = logits(seed, 4, 5), logits(seed + 1, 4, 5)
    torch.testing.assert_close(kl(p.log_softmax(1), q.log_softmax(1)), kl(p, q))


def test_the_divergence_is_that_of_torch():
    p, q = logits(0, 4, 5), logits(1, 4, 5)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    torch.testing.assert_close(kl(p, q), expected)


def test_leading_dimensions_are_free():
    p, q = logits(0, 2, 3, 5), logits(1, 2, 3, 5)
    assert kl(p, q).shape == (2, 3)
    torch.testing.assert_close(kl(p, q)[1, 2], kl(p[1, 2], q[1, 2]))


def test_the_gradient_by_both_sides_is_that_of_finite_differences():
    p, q = logits(0, 2, 3).requires_grad_(), logits(1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(kl, (p, q))


def test_a_class_that_both_exclude_adds_nothing():
    p = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    q = torch.tensor([[1.0, 0.0, -math.inf]], requires_grad=True)
    found = kl(p, q)
    found.sum().backward()
    torch.testing.assert_close(found, kl(p[:, :2], q[:, :2]))
    assert p.grad.isfinite().all()
    assert q.grad.isfinite().all()


def test_a_class_that_only_the_second_excludes_makes_the_divergence_infinite():
    assert kl(torch.zeros(1, 2), torch.tensor([[0.0, -math.inf]])).tolist() == [math.inf]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_as_float32(dtype):
    p, q = logits(0, 4, 5).to(dtype), logits(1, 4, 5).to(dtype)
    assert torch.equal(kl(p, q), kl(p.float(), q.float()))
