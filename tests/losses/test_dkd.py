import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import dkd, kd

few = settings(max_examples=15, deadline=None)


def batch(seed, n=5, k=4):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 3 * torch.randn(2, n, k, generator=generator, dtype=torch.float64)
    return student, teacher, torch.randint(k, (n,), generator=generator)


def softmax_as_loops(row, temperature):
    powers = [math.exp((z - max(row)) / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def kl_as_loops(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.5, 1.0, 1.0), (0.0, 2.0, 2.0)])
def test_the_loss_is_its_definition_as_loops(alpha, beta, temperature):
    student, teacher, labels = batch(0)
    expected = []
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        q, p = softmax_as_loops(s, temperature), softmax_as_loops(t, temperature)
        target = kl_as_loops((p[y], 1 - p[y]), (q[y], 1 - q[y]))
        rest = [c for c in range(4) if c != y]
        others = kl_as_loops([p[c] / (1 - p[y]) for c in rest], [q[c] / (1 - q[y]) for c in rest])
        expected.append(temperature**2 * (alpha * target + beta * others))
    found = dkd(student, teacher, labels, alpha=alpha, beta=beta, temperature=temperature)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-9, atol=1e-12)


# https://github.com/megvii-research/mdistiller/blob/a08d46f10d6102bd6e3f258ca5ac880b020ea259/mdistiller/distillers/DKD.py
# in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1].
@pytest.mark.parametrize(
    ("alpha", "beta", "temperature", "loss", "norm", "entry"),
    [
        (1.0, 8.0, 4.0, 10.2067899805094, 2.39296032867794, 0.336065571762228),
        (1.0, 2.0, 4.0, 2.88698997974081, 0.627283595144556, 0.109709821160246),
        (0.5, 1.0, 1.0, 0.744596044856825, 0.223346067092446, 0.0986031608295895),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, alpha, beta, temperature, loss, norm, entry):
    student, labels = (3 * wave(6, 5)).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0])
    teacher = 3 * wave(6, 5, phase=1.0)
    value = dkd(student, teacher, labels, alpha=alpha, beta=beta, temperature=temperature).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-11, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(0.5, 8))
def test_kd_is_the_first_term_plus_the_second_times_the_teachers_doubt(seed, temperature):
    student, teacher, labels = batch(seed)
    doubt = 1 - (teacher / temperature).softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    first = dkd(student, teacher, labels, alpha=1.0, beta=0.0, temperature=temperature)
    second = dkd(student, teacher, labels, alpha=0.0, beta=1.0, temperature=temperature)
    torch.testing.assert_close(first + doubt * second, kd(student, teacher, temperature=temperature))


@few
@given(st.integers(0, 10**6))
def test_renaming_the_classes_changes_nothing(seed):
    student, teacher, labels = batch(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    renamed = order.argsort()[labels]
    torch.testing.assert_close(dkd(student[:, order], teacher[:, order], renamed), dkd(student, teacher, labels))


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(seed, constant):
    student, teacher, labels = batch(seed)
    torch.testing.assert_close(dkd(student + constant, teacher - constant, labels), dkd(student, teacher, labels))


def test_the_second_term_ignores_the_score_of_the_true_class():
    student, teacher, labels = batch(0)
    raised = student.scatter_add(1, labels.unsqueeze(1), torch.full((5, 1), 7.0, dtype=torch.float64))
    torch.testing.assert_close(dkd(raised, teacher, labels, alpha=0.0), dkd(student, teacher, labels, alpha=0.0))
    assert (dkd(raised, teacher, labels, beta=0.0) - dkd(student, teacher, labels, beta=0.0)).abs().min() > 0.01


def test_the_gradient_is_that_of_finite_differences():
    student, teacher, labels = batch(0, n=3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: dkd(s, teacher, labels), (student,))
    assert torch.autograd.gradgradcheck(lambda s: dkd(s, teacher, labels), (student,))


@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [100.0, -100.0, 10_000.0])
def test_a_confident_student_has_a_finite_loss_and_gradient(num_classes, dtype, size):
    # The authors' float32 code: inf and a gradient of NaN at a size of 1000.
    student = torch.zeros(2, num_classes, dtype=dtype)
    student[:, 0] = size
    student.requires_grad_()
    teacher = torch.zeros(2, num_classes)
    teacher[:, 1] = 3.0
    loss = dkd(student, teacher, torch.tensor([0, 1]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert (loss > 5).all()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0.1


def test_a_very_confident_student_gets_the_loss_of_exact_arithmetic():
    # log(1 − q_y) = log 9 − 250 up to 1e-100, where float32 and float64 both round 1 − q_y to zero.
    student = torch.zeros(1, 10)
    student[0, 0] = 1000.0
    p = 0.1
    expected = 16 * (p * math.log(p) + (1 - p) * (math.log(1 - p) - (math.log(9) - 250)))
    found = dkd(student, torch.zeros(1, 10), torch.tensor([0]), beta=0.0)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_with_two_classes_the_second_term_is_zero():
    student, teacher, labels = batch(3, k=2)
    student.requires_grad_()
    loss = dkd(student, teacher, labels, alpha=0.0)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.tolist() == [0.0] * 5
    assert gradient.tolist() == [[0.0, 0.0]] * 5
    torch.testing.assert_close(dkd(student, teacher, labels), kd(student, teacher))
    far = torch.tensor([[-10_000.0, 0.0]])
    assert dkd(far, torch.zeros(1, 2), torch.tensor([1]), alpha=0.0).tolist() == [0.0]


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    two = torch.zeros(2, 3)
    with pytest.raises(ShapeError, match=r"class numbers from 0 to 2, got 0 to 3: map the labels"):
        dkd(two, two, torch.tensor([0, 3]))
    with pytest.raises(ShapeError, match=r"one a sample, \(2,\), got \(2, 3\) torch.float32: use labels.argmax"):
        dkd(two, two, two)
    with pytest.raises(ConfigError, match=r"beta must be at least 0, got -1"):
        dkd(two, two, torch.tensor([0, 1]), beta=-1.0)
    with pytest.raises(ConfigError, match=r"alpha must be at least 0, got nan"):
        dkd(two, two, torch.tensor([0, 1]), alpha=math.nan)
