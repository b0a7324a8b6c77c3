import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import vid

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_is_its_definition_as_loops():
    student, teacher, variance = features(0, 3, 2, 2, 2), features(1, 3, 2, 2, 2), [0.5, 2.0]
    expected = [
        sum(
            0.5 * ((a - b) ** 2 / variance[c] + math.log(variance[c]))
            for c in range(2)
            for a, b in zip(s[c].flatten().tolist(), t[c].flatten().tolist(), strict=True)
        )
        / 8
        for s, t in zip(student, teacher, strict=True)
    ]
    torch.testing.assert_close(vid(student, teacher, torch.tensor(variance)).tolist(), expected, rtol=1e-12, atol=0.0)


def test_loss_and_gradients_are_those_of_repdistiller(wave):
    # https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/VID.py
    # in float64, without its regressor: the loss, the norm of its gradient, the gradient of student_mean[0, 0, 0, 1].
    student = wave(3, 2, 4, 4).requires_grad_()
    scale = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    variance = torch.nn.functional.softplus(scale) + 1e-5
    value = vid(student, wave(3, 2, 4, 4, phase=1.0), variance).mean()
    gradient, gradient_of_scale = torch.autograd.grad(value, (student, scale))
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item(), *gradient_of_scale.tolist()]
    expected = [0.195532147812815, 0.165707418918654, 0.00407974545360465, 0.08499561147659936, -0.10754904388267159]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_it_is_a_negative_log_likelihood_but_for_a_constant(seed):
    student, teacher, variance = features(seed, 4, 3), features(seed + 1, 4, 3), features(seed + 2, 3).exp()
    normal = torch.distributions.Normal(student, variance.sqrt())
    expected = -normal.log_prob(teacher).mean(1) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(vid(student, teacher, variance), expected)


def test_the_best_variance_is_the_mean_squared_gap_of_the_channel():
    student, teacher = features(0, 8, 3), features(1, 8, 3)
    variance = (student - teacher).square().mean(0).requires_grad_()
    (gradient,) = torch.autograd.grad(vid(student, teacher, variance).mean(), variance)
    assert gradient.abs().max() < 1e-15


@few
@given(st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_loss_and_permuting_channels_changes_nothing(seed):
    student, teacher, variance = features(seed, 4, 4, 2), features(seed + 1, 4, 4, 2), features(seed + 2, 4).exp()
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    loss = vid(student, teacher, variance)
    torch.testing.assert_close(vid(student[order], teacher[order], variance), loss[order])
    torch.testing.assert_close(vid(student[:, order], teacher[:, order], variance[order]), loss)


def test_the_gradient_is_that_of_finite_differences():
    student, variance = features(0, 2, 3, 2).requires_grad_(), features(2, 3).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, v: vid(s, features(1, 2, 3, 2), v), (student, variance))


def test_the_teacher_gets_no_gradient():
    student, teacher = features(0, 2, 3).requires_grad_(), features(1, 2, 3).requires_grad_()
    vid(student, teacher, torch.ones(3).double()).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_gives_finite_float32_out(dtype):
    student = torch.full((2, 4), 300.0, dtype=dtype, requires_grad=True)  # 300² is beyond the largest float16
    loss = vid(student, torch.zeros(2, 4, dtype=dtype), torch.ones(4, dtype=dtype))
    loss.mean().backward()
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([45000.0] * 2, rel=0.01)
    assert student.grad.isfinite().all()


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    x = torch.zeros(2, 3)
    with pytest.raises(ShapeError, match=r"variance must be one number a channel, \(3,\), got \(4,\)"):
        vid(x, x, torch.ones(4))
    with pytest.raises(ShapeError, match=r"variance must be above zero, got 0\.0: use softplus"):
        vid(x, x, torch.zeros(3))
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 3\) and \(2, 4\): put a connector"):
        vid(x, torch.zeros(2, 4), torch.ones(3))
