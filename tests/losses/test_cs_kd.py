import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import cs_kd, positive_in_context

few = settings(max_examples=15, deadline=None)


def logits(seed, n=5, k=4):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax_as_loops(row, temperature):
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def test_the_loss_is_its_definition_as_loops():
    student, partner = logits(0), logits(1)
    expected = []
    for s, t in zip(student.tolist(), partner.tolist(), strict=True):
        q, p = softmax_as_loops(s, 3.0), softmax_as_loops(t, 3.0)
        expected.append(9 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    torch.testing.assert_close(cs_kd(student, partner, temperature=3.0).tolist(), expected, rtol=1e-10, atol=1e-12)


# https://github.com/alinlab/cs-kd/blob/b447f250405932501cb28db0dc09eadeab526b80/train.py (class KDLoss)
# in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1].
@pytest.mark.parametrize(
    ("temperature", "loss", "norm", "entry"),
    [
        (1.0, 0.750494472339946, 0.236359596512817, 0.0966133633879818),
        (4.0, 1.40372747895473, 0.297845198357706, 0.0595115569650099),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, temperature, loss, norm, entry):
    student = (3 * wave(6, 5)).requires_grad_()
    value = cs_kd(student, 3 * wave(6, 5, phase=1.0), temperature=temperature).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-11, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(seed, constant):
    student, partner = logits(seed), logits(seed + 1)
    torch.testing.assert_close(cs_kd(student + constant, partner - constant), cs_kd(student, partner))


def test_it_is_the_positive_in_context_loss_with_one_neighbour():
    student, partner = logits(0), logits(1)
    one = torch.ones(5, 1, dtype=torch.float64)
    torch.testing.assert_close(cs_kd(student, partner), positive_in_context(student, partner.unsqueeze(1), one))


def test_a_sample_that_is_its_own_partner_has_no_loss_and_pulls_nothing():
    student = logits(0).float().requires_grad_()
    loss = cs_kd(student, student)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 5
    assert student.grad.abs().max() < 1e-6


def test_the_gradient_is_that_of_finite_differences_with_the_partner_held_still():
    student, partner = logits(0, n=3).requires_grad_(), logits(1, n=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: cs_kd(s, partner.detach()), (student,))
    cs_kd(student, partner).sum().backward()
    assert partner.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_confident_student_that_contradicts_itself_has_a_finite_loss_and_gradient(dtype):
    student = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype, requires_grad=True)
    loss = cs_kd(student, student.detach().flip(0))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert (loss > 1e4).all()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 1


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"the same samples, got 4 and 2 rows: run both on one batch"):
        cs_kd(torch.zeros(4, 10), torch.zeros(2, 10))
    with pytest.raises(ConfigError, match=r"temperature must be positive, got 0"):
        cs_kd(torch.zeros(2, 10), torch.zeros(2, 10), temperature=0.0)
