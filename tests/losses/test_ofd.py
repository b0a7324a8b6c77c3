import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import overhaul

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MARGIN = torch.tensor([-0.5, -0.1], dtype=torch.float64)


def test_the_loss_is_its_definition_as_loops():
    student, teacher = features(0, 3, 2, 4, 4), features(1, 3, 2, 4, 4)
    expected = []
    for s, t in zip(student, teacher, strict=True):
        total = 0.0
        for channel, margin in enumerate(MARGIN.tolist()):
            for a, b in zip(s[channel].flatten().tolist(), t[channel].flatten().tolist(), strict=True):
                aim = max(b, margin)
                total += 0.0 if a <= aim <= 0 else (a - aim) ** 2
        expected.append(total)
    torch.testing.assert_close(overhaul(student, teacher, MARGIN).tolist(), expected, rtol=1e-11, atol=0.0)


def test_loss_and_gradient_are_those_of_the_authors(wave):
    # https://github.com/clovaai/overhaul-distillation/blob/76344a84a7ce23c894f41a2e05b866c9b73fd85a/CIFAR-100/distiller.py
    # distillation_loss over the batch size, as in train_with_distillation.py, in float64: the loss, the norm of its
    # gradient, the gradient of student[0, 0, 0, 1].
    student = wave(3, 2, 4, 4).requires_grad_()
    value = overhaul(student, wave(3, 2, 4, 4, phase=1.0), MARGIN).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    torch.testing.assert_close(
        found, [10.22746058977726, 3.6927786448287163, 0.25433772448795217], rtol=1e-10, atol=0.0
    )


@few
@given(st.integers(0, 10**6))
def test_a_sample_does_not_depend_on_the_rest_and_its_permutation_permutes_the_loss(seed):
    student, teacher = features(seed, 5, 2, 3), features(seed + 1, 5, 2, 3)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    loss = overhaul(student, teacher, MARGIN)
    torch.testing.assert_close(overhaul(student[order], teacher[order], MARGIN), loss[order])
    torch.testing.assert_close(overhaul(student[2:3], teacher[2:3], MARGIN), loss[2:3])


def test_where_the_teacher_is_below_zero_the_student_may_be_anything_below_its_aim():
    teacher = torch.tensor([[-0.3, -0.3]])
    for low in (-0.4, -5.0, -100.0):
        student = torch.tensor([[low, low]]).requires_grad_()
        loss = overhaul(student, teacher, torch.tensor([-0.5, -0.1]))
        (gradient,) = torch.autograd.grad(loss.sum(), student)
        assert loss.tolist() == [0.0]
        assert gradient.tolist() == [[0.0, 0.0]]
    assert overhaul(torch.tensor([[0.0, 0.0]]), teacher, torch.tensor([-0.5, -0.1])).item() == pytest.approx(0.1)


def test_the_aim_is_never_below_the_margin():
    far, near = torch.full((1, 2), -9.0), MARGIN.float().unsqueeze(0)
    student = torch.ones(1, 2)
    assert torch.equal(overhaul(student, far, MARGIN.float()), overhaul(student, near, MARGIN.float()))


def test_neither_teacher_nor_margin_gets_a_gradient():
    student, teacher = features(0, 3, 2, 4).requires_grad_(), features(1, 3, 2, 4).requires_grad_()
    margin = MARGIN.clone().requires_grad_()
    overhaul(student, teacher, margin).mean().backward()
    assert teacher.grad is None
    assert margin.grad is None
    assert student.grad.abs().sum() > 0


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = features(0, 2, 2, 5).requires_grad_(), features(1, 2, 2, 5)
    assert torch.autograd.gradcheck(lambda s: overhaul(s, teacher, MARGIN), (student,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_as_float32(dtype):
    student, teacher = (300 * features(0, 3, 2, 4)).to(dtype), (300 * features(1, 3, 2, 4)).to(dtype)
    margin = MARGIN.float()
    loss = overhaul(student, teacher, margin)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, overhaul(student.float(), teacher.float(), margin))
    assert loss.isfinite().all()


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16, 8\) and \(2, 32, 8\): put a connector"):
        overhaul(torch.zeros(2, 16, 8), torch.zeros(2, 32, 8), torch.zeros(32))
    with pytest.raises(ShapeError, match=r"margin must be one number a channel, \(16,\), got \(2,\): match it"):
        overhaul(torch.zeros(2, 16, 8), torch.zeros(2, 16, 8), torch.zeros(2))
