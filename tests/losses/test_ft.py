import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import factor_distance

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_as_loops(row):
    length = sum(a * a for a in row) ** 0.5
    return [a / length for a in row]


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_the_loss_is_its_definition_as_loops(p):
    student, teacher = features(0, 3, 2, 4, 4), features(1, 3, 2, 4, 4)
    expected = []
    for s, t in zip(student, teacher, strict=True):
        ours, theirs = (unit_as_loops(x.flatten().tolist()) for x in (s, t))
        expected.append((sum(abs(a - b) ** p for a, b in zip(ours, theirs, strict=True)) / 32) ** (1 / p))
    torch.testing.assert_close(factor_distance(student, teacher, p=p).tolist(), expected, rtol=1e-11, atol=0.0)


# https://github.com/aliyun/Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework/blob/
# 3274ab05b9a21935e3000373ecd64f4df93ab2ac/loss/factor_transfer.py, FTLoss, in float64: the loss, the norm of its
# gradient, the gradient of student_factor[0, 0, 0, 1]; for p = 2 of one sample, since it takes the root over the batch.
@pytest.mark.parametrize(
    ("p", "n", "expected"),
    [
        (1, 3, [0.1547918585594821, 0.023899798395253358, 0.0009569941118981939]),
        (2, 1, [0.17970939666216254, 0.04273017266253989, -0.0005103250073310488]),
    ],
)
def test_loss_and_gradient_are_those_of_the_code_of_iekd(wave, p, n, expected):
    student = wave(3, 2, 4, 4)[:n].requires_grad_()
    value = factor_distance(student, wave(3, 2, 4, 4, phase=1.0)[:n], p=p).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.sampled_from([1, 2]))
def test_it_is_a_distance_of_directions(seed, factor, p):
    a, b, c = (features(seed + i, 3, 8) for i in range(3))
    loss = factor_distance(a, b, p=p)
    torch.testing.assert_close(factor_distance(b, a, p=p), loss)
    torch.testing.assert_close(factor_distance(factor * a, b, p=p), loss)
    assert (loss <= factor_distance(a, c, p=p) + factor_distance(c, b, p=p) + 1e-12).all()
    assert (loss <= 2 / 8**0.5).all()


@pytest.mark.parametrize("p", [1, 2])
def test_opposite_factors_are_as_far_apart_as_can_be(p):
    factor = torch.ones(2, 16)
    torch.testing.assert_close(factor_distance(factor, -3 * factor, p=p), torch.full((2,), 2 / 16**0.5))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_gradient_is_that_of_finite_differences(p):
    student, teacher = features(0, 2, 3, 2).requires_grad_(), features(1, 2, 3, 2)
    assert torch.autograd.gradcheck(lambda s: factor_distance(s, teacher, p=p), (student,))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_factors_that_are_equal_or_zero_have_a_finite_gradient(p):
    teacher = features(1, 3, 6).float()
    teacher[2] = 0
    student = torch.stack([teacher[0], torch.zeros(6), torch.zeros(6)]).requires_grad_()
    loss = factor_distance(student, teacher, p=p)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.isfinite().all()
    assert loss[0] == loss[2] == 0 < loss[1]
    assert gradient.abs().max() == 0


def test_half_precision_does_not_overflow():
    student, teacher = torch.full((2, 4), 3e4, dtype=torch.float16), torch.ones(2, 4, dtype=torch.float16)
    torch.testing.assert_close(factor_distance(student, teacher, p=2), torch.zeros(2), rtol=0, atol=1e-7)


def test_an_offset_common_to_all_numbers_keeps_the_loss_right():
    student, teacher = features(0, 3, 64) + 1000, features(1, 3, 64) + 1000
    torch.testing.assert_close(
        factor_distance(student.float(), teacher.float()).double(),
        factor_distance(student, teacher),
        rtol=1e-3,
        atol=0.0,
    )


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16, 8, 8\) and \(2, 32, 8, 8\)"):
        factor_distance(torch.zeros(2, 16, 8, 8), torch.zeros(2, 32, 8, 8))
    with pytest.raises(ConfigError, match=r"p must be at least 1, got 0.5: below that it is no distance"):
        factor_distance(torch.zeros(2, 3), torch.zeros(2, 3), p=0.5)
