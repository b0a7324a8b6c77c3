import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import kd

few = settings(max_examples=15, deadline=None)


def logits(seed, n=5, k=4, scale=3.0):
    return scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax_as_loops(row, temperature):
    top = max(row)
    powers = [math.exp((z - top) / temperature) for z in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_its_definition_as_loops(temperature):
    student, teacher = logits(0), logits(1)
    expected = []
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softmax_as_loops(s, temperature), softmax_as_loops(t, temperature)
        expected.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    torch.testing.assert_close(kd(student, teacher, temperature=temperature).tolist(), expected, rtol=1e-10, atol=1e-12)


# https://github.com/megvii-research/mdistiller/blob/a08d46f10d6102bd6e3f258ca5ac880b020ea259/mdistiller/distillers/KD.py
# https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/KD.py
# Both give these numbers in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1].
@pytest.mark.parametrize(
    ("temperature", "loss", "norm", "entry"),
    [
        (1.0, 0.750494472339945, 0.236359596512817, 0.0966133633879818),
        (4.0, 1.40372747895473, 0.297845198357706, 0.0595115569650099),
    ],
)
def test_loss_and_gradient_are_those_of_mdistiller_and_repdistiller(wave, temperature, loss, norm, entry):
    student = (3 * wave(6, 5)).requires_grad_()
    value = kd(student, 3 * wave(6, 5, phase=1.0), temperature=temperature).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-11, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_permuting_the_classes_of_both_changes_nothing(seed):
    student, teacher = logits(seed), logits(seed + 1)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(kd(student[:, order], teacher[:, order]), kd(student, teacher))


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(seed, constant):
    student, teacher = logits(seed), logits(seed + 1)
    torch.testing.assert_close(kd(student + constant, teacher - constant), kd(student, teacher))


@few
@given(st.integers(0, 10**6), st.floats(0.5, 20))
def test_the_loss_is_not_negative(seed, temperature):
    student = logits(seed).float()
    near = student + 1e-3 * logits(seed + 1).float()
    assert kd(student, near, temperature=temperature).min() >= -1e-6 * temperature**2


def test_the_gradient_keeps_its_size_when_the_temperature_grows():
    student = logits(0).requires_grad_()
    norms = [
        torch.autograd.grad(kd(student, logits(1), temperature=t).sum(), student)[0].norm().item()
        for t in (50.0, 100.0)
    ]
    assert norms[1] / norms[0] == pytest.approx(1.0, rel=0.02)


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = logits(0, n=3).requires_grad_(), logits(1, n=3)
    assert torch.autograd.gradcheck(lambda s: kd(s, teacher), (student,))
    assert torch.autograd.gradgradcheck(lambda s: kd(s, teacher), (student,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [100.0, 10_000.0])
def test_a_confident_student_that_is_wrong_has_a_finite_loss_and_gradient(dtype, size):
    student = torch.tensor([[size, -size, -size], [-size, size, size]], dtype=dtype, requires_grad=True)
    loss = kd(student, torch.tensor([[-5.0, 5.0, 0.0], [5.0, -5.0, 0.0]]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert (loss > 100).all()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 1


def test_a_class_that_the_teacher_excludes_leaves_loss_and_gradient_finite():
    student = torch.zeros(1, 3, requires_grad=True)
    loss = kd(student, torch.tensor([[0.0, 0.0, float("-inf")]]), temperature=1.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(1.5))
    torch.testing.assert_close(student.grad, torch.tensor([[-1 / 6, -1 / 6, 1 / 3]]))


def test_a_batch_of_one_with_two_classes_has_a_loss():
    # KL between (σ(2), 1 − σ(2)) and (½, ½), times 16
    p = 1 / (1 + math.exp(-2))
    expected = 16 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert kd(torch.zeros(1, 2), torch.tensor([[8.0, 0.0]])).item() == pytest.approx(expected, rel=1e-6)


def test_an_offset_common_to_all_logits_leaves_the_loss_right():
    student, teacher = logits(0).float(), logits(1).float()
    torch.testing.assert_close(kd(student + 1000, teacher + 1000), kd(student, teacher), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"same classes, got 10 and 100: select and order the teacher's columns"):
        kd(torch.zeros(2, 10), torch.zeros(2, 100))
    with pytest.raises(ConfigError, match=r"temperature must be positive, got 0"):
        kd(torch.zeros(2, 10), torch.zeros(2, 10), temperature=0.0)
