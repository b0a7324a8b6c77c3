import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import activation_boundary

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_the_loss_is_its_definition_as_loops(margin):
    student, teacher = 2 * features(0, 3, 2, 4, 4), features(1, 3, 2, 4, 4).relu()
    expected = []
    for s, t in zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True):
        total = 0.0
        for a, b in zip(s, t, strict=True):
            if b > 0 and a < margin:
                total += (a - margin) ** 2
            if b <= 0 and a > -margin:
                total += (a + margin) ** 2
        expected.append(total)
    found = activation_boundary(student, teacher, margin=margin)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-11, atol=0.0)


# criterion_alternative_L2 of
# https://github.com/bhheo/AB_distillation/blob/a7701d3506e13da87bda75aba1cee6397408144f/cifar10_AB_distillation.py
# over the batch size, in float64: the loss and the norm of its gradient.
@pytest.mark.parametrize(
    ("margin", "expected"),
    [(1.0, [38.9062253148088, 7.2024278605489505]), (0.5, [20.94336651663526, 5.284362656825041])],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, margin, expected):
    student = (2 * wave(3, 2, 4, 4)).requires_grad_()
    value = activation_boundary(student, wave(3, 2, 4, 4, phase=1.0).relu(), margin=margin).mean()
    (gradient,) = torch.autograd.grad(value, student)
    torch.testing.assert_close([value.item(), gradient.norm().item()], expected, rtol=1e-10, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_a_sample_does_not_depend_on_the_rest_and_its_permutation_permutes_the_loss(seed):
    student, teacher = features(seed, 5, 2, 3), features(seed + 1, 5, 2, 3)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    loss = activation_boundary(student, teacher)
    torch.testing.assert_close(activation_boundary(student[order], teacher[order]), loss[order])
    torch.testing.assert_close(activation_boundary(student[2:3], teacher[2:3]), loss[2:3])


def test_a_relu_and_the_scale_of_the_teacher_do_not_count():
    student, teacher = features(0, 3, 2, 4), features(1, 3, 2, 4)
    loss = activation_boundary(student, teacher)
    assert torch.equal(activation_boundary(student, teacher.relu()), loss)
    assert torch.equal(activation_boundary(student, 1e-20 * teacher), loss)


def test_a_student_on_the_teachers_side_by_the_margin_has_neither_loss_nor_gradient():
    teacher = features(1, 3, 8)
    student = (teacher.sign() * (1 + features(0, 3, 8).abs())).requires_grad_()
    loss = activation_boundary(student, teacher)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.tolist() == [0.0] * 3
    assert not gradient.any()


def test_the_teacher_gets_no_gradient():
    student, teacher = features(0, 3, 2, 4).requires_grad_(), features(1, 3, 2, 4).requires_grad_()
    activation_boundary(student, teacher).mean().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = features(0, 2, 2, 5).requires_grad_(), features(1, 2, 2, 5)
    assert torch.autograd.gradcheck(lambda s: activation_boundary(s, teacher), (student,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_as_float32(dtype):
    student, teacher = (300 * features(0, 3, 2, 4)).to(dtype), features(1, 3, 2, 4).to(dtype)
    loss = activation_boundary(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, activation_boundary(student.float(), teacher.float()))
    assert loss.isfinite().all()


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16, 8\) and \(2, 32, 8\): put a connector"):
        activation_boundary(torch.zeros(2, 16, 8), torch.zeros(2, 32, 8))
    with pytest.raises(ConfigError, match="margin must be positive, got 0"):
        activation_boundary(torch.zeros(2, 3), torch.zeros(2, 3), margin=0.0)
