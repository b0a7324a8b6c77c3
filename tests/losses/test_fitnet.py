import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import fitnet

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_is_its_definition_as_loops():
    student, teacher = features(0, 3, 2, 4, 4), features(1, 3, 2, 4, 4)
    expected = []
    for s, t in zip(student, teacher, strict=True):
        gaps = [(a - b) ** 2 for a, b in zip(s.flatten().tolist(), t.flatten().tolist(), strict=True)]
        expected.append(sum(gaps) / len(gaps))
    torch.testing.assert_close(fitnet(student, teacher).tolist(), expected, rtol=1e-12, atol=0.0)


def test_loss_and_gradient_are_those_of_repdistiller(wave):
    # https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/FitNet.py
    # in float64: the loss, the norm of its gradient, the gradient of student_features[0, 0, 0, 1].
    student = wave(3, 2, 4, 4).requires_grad_()
    value = fitnet(student, wave(3, 2, 4, 4, phase=1.0)).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    torch.testing.assert_close(found, [0.463044564398628, 0.138901128564924, 0.00794805389024851], rtol=1e-11, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_scaling_both_scales_the_loss_by_the_square(seed, factor):
    student, teacher = features(seed, 3, 4), features(seed + 1, 3, 4)
    torch.testing.assert_close(fitnet(factor * student, factor * teacher), factor**2 * fitnet(student, teacher))


@few
@given(st.integers(0, 10**6))
def test_student_and_teacher_may_be_exchanged(seed):
    student, teacher = features(seed, 3, 4), features(seed + 1, 3, 4)
    assert torch.equal(fitnet(student, teacher), fitnet(teacher, student))


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = features(0, 2, 3, 2).requires_grad_(), features(1, 2, 3, 2)
    assert torch.autograd.gradcheck(lambda s: fitnet(s, teacher), (student,))
    assert torch.autograd.gradgradcheck(lambda s: fitnet(s, teacher), (student,))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3, 5), (2, 3, 4, 4), (2, 2, 2, 2, 2)])
def test_any_trailing_shape_gives_one_value_per_sample(shape):
    torch.testing.assert_close(fitnet(torch.full(shape, 3.0), torch.ones(shape)), torch.full(shape[:1], 4.0))


def test_half_precision_does_not_overflow():
    # 300² is beyond the largest float16, 65504.
    student = torch.full((2, 4), 300.0, dtype=torch.float16, requires_grad=True)
    loss = fitnet(student, torch.zeros(2, 4, dtype=torch.float16))
    loss.mean().backward()
    assert loss.tolist() == [90000.0, 90000.0]
    assert student.grad.tolist() == [[75.0] * 4] * 2


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16, 8, 8\) and \(2, 32, 8, 8\): put a connector"):
        fitnet(torch.zeros(2, 16, 8, 8), torch.zeros(2, 32, 8, 8))
    with pytest.raises(ShapeError, match=r"at least one number a sample, got student \(5,\): tap a layer"):
        fitnet(torch.zeros(5), torch.zeros(5))
