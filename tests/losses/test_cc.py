import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import correlation_congruence

few = settings(max_examples=15, deadline=None)


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel_as_loops(x, y, gamma, order):
    cosine = sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
    return math.exp(-2 * gamma) * sum((2 * gamma * cosine) ** p / math.factorial(p) for p in range(order + 1))


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.0, 3), (0.1, 1)])
def test_the_loss_is_its_definition_as_loops(gamma, order):
    s, t = rows(0).tolist(), rows(1, d=7).tolist()
    expected = [
        sum(
            (kernel_as_loops(s[i], s[j], gamma, order) - kernel_as_loops(t[i], t[j], gamma, order)) ** 2
            for j in range(6)
        )
        / 6
        for i in range(6)
    ]
    found = correlation_congruence(rows(0), rows(1, d=7), gamma=gamma, order=order)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=0.0)


# https://github.com/AberHu/Knowledge-Distillation-Zoo/blob/65470c846c1300d555815da26999cbe2b51fc815/kd_losses/cc.py
# in float64: the loss, the norm of its gradient, the gradient of student[0, 1].
@pytest.mark.parametrize(
    ("settings_", "loss", "norm", "entry"),
    [
        ({}, 0.0358523762047989, 0.0393199585152403, -0.00433868922807622),
        ({"gamma": 1.0, "order": 3}, 0.0468264523594202, 0.0755741149548481, -0.0082510800346761),
    ],
)
def test_loss_and_gradient_are_those_of_the_zoo(wave, settings_, loss, norm, entry):
    student = wave(6, 4).requires_grad_()
    value = correlation_congruence(student, wave(6, 7, phase=1.0), **settings_).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-11, atol=0.0)


def test_a_long_expansion_is_the_gaussian_kernel():
    units = torch.nn.functional.normalize(rows(0))
    exact = torch.exp(-0.4 * torch.cdist(units, units).square())
    same = torch.full((6, 6), 1.0, dtype=torch.float64)  # the kernel of a teacher whose samples coincide
    found = correlation_congruence(rows(0), torch.ones(6, 2).double(), order=20)
    torch.testing.assert_close(found, (exact - same).square().mean(1))


@few
@given(st.integers(0, 10**6))
def test_rotating_and_scaling_the_rows_changes_nothing(seed):
    student, teacher = rows(seed), rows(seed + 1)
    turn = torch.linalg.qr(rows(seed + 2, n=4)).Q
    lengths = rows(seed + 3, d=1).abs() + 0.1
    torch.testing.assert_close(
        correlation_congruence(lengths * student @ turn, teacher), correlation_congruence(student, teacher)
    )


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = rows(0).requires_grad_(), rows(1)
    assert torch.autograd.gradcheck(lambda s: correlation_congruence(s, teacher), (student,))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_a_collapsed_tiny_or_huge_student_stays_finite(scale):
    student = (scale * torch.ones(6, 4)).requires_grad_()
    loss = correlation_congruence(student, rows(1).float())
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    if scale == 0.0:
        assert student.grad.abs().max() == 0.0  # no direction, no gradient


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    x = torch.zeros(6, 4)
    with pytest.raises(ShapeError, match="at least 2 of them, got 1: use a larger batch"):
        correlation_congruence(x[:1], x[:1])
    with pytest.raises(ConfigError, match="gamma must be positive"):
        correlation_congruence(x, x, gamma=0.0)
    with pytest.raises(ConfigError, match="order must be at least 1, got 0: the kernel would be a constant"):
        correlation_congruence(x, x, order=0)
