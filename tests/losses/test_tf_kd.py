import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import kd, label_smoothing, tf_kd

few = settings(max_examples=15, deadline=None)
LABELS = torch.tensor([0, 1, 2, 3, 0])


def logits(seed, n=5, k=4):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax_as_loops(row, temperature):
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("student_temperature", [1.0, 20.0])
def test_the_loss_is_its_definition_as_loops(student_temperature):
    student, expected = logits(0), []
    for row, label in zip(student.tolist(), LABELS.tolist(), strict=True):
        virtual = [0.9 if c == label else 0.1 / 3 for c in range(4)]
        p, q = softmax_as_loops(virtual, 10.0), softmax_as_loops(row, student_temperature)
        expected.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    found = tf_kd(student, LABELS, correct=0.9, temperature=10.0, student_temperature=student_temperature)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=1e-12)


# https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation/blob/d000ab378a409535a5f5f645b473e05e27529a02/my_loss_function.py
# (loss_kd_regularization with α = 1) in float64: the loss, the norm of its gradient, the gradient of
# student_logits[0, 1]. They average over samples and 5 classes, and multiply.
@pytest.mark.parametrize(
    ("temperature", "multiplier", "loss", "norm", "entry"),
    [
        (20.0, 1.0, 0.264698163486191, 0.0563477392319145, 0.0194381787341577),
        (40.0, 5.0, 1.31967572854117, 0.281533635149893, 0.0970226496862256),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, temperature, multiplier, loss, norm, entry):
    student = (3 * wave(6, 5)).requires_grad_()
    value = multiplier / 5 * tf_kd(student, torch.tensor([0, 1, 2, 3, 4, 0]), temperature=temperature).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-11, atol=0.0)


# The same file, loss_kd_self with α = 1, τ = 20 and multiplier 1: no loss of its own.
def test_learning_from_a_copy_of_oneself_is_kd(wave):
    student = (3 * wave(6, 5)).requires_grad_()
    value = kd(student, 3 * wave(6, 5, phase=1.0), temperature=20.0).mean() / 5
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(
        found, [0.333586716153324, 0.0659451344050595, 0.00695957575085848], rtol=1e-11, atol=0.0
    )


def test_with_a_student_at_temperature_one_it_is_label_smoothing_up_to_a_number():
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(6, 100, generator=generator, dtype=torch.float64)
    labels = torch.randint(100, (6,), generator=generator)
    lead = math.exp((0.99 - 0.01 / 99) / 20) - 1
    smoothing = 100 / (100 + lead)
    gap = label_smoothing(student, labels, smoothing=smoothing, over="all") - tf_kd(student, labels)
    assert round(smoothing, 4) == 0.9995
    torch.testing.assert_close(gap, gap[:1].expand(6))


@few
@given(st.integers(0, 10**6))
def test_permuting_the_classes_of_both_changes_nothing(seed):
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved = tf_kd(logits(seed)[:, order], order.argsort()[LABELS])
    torch.testing.assert_close(moved, tf_kd(logits(seed), LABELS))


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(seed, constant):
    torch.testing.assert_close(tf_kd(logits(seed) + constant, LABELS), tf_kd(logits(seed), LABELS))


@few
@given(st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_loss(seed):
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    student = logits(seed)
    torch.testing.assert_close(tf_kd(student[order], LABELS[order]), tf_kd(student, LABELS)[order])


@pytest.mark.parametrize("correct", [0.25, 0.99, 1.0])
def test_the_loss_is_zero_where_the_student_is_the_virtual_teacher(correct):
    virtual = torch.full((5, 4), (1 - correct) / 3, dtype=torch.float64)
    virtual[torch.arange(5), LABELS] = correct
    student = (virtual / 20 + 7).requires_grad_()
    loss = tf_kd(student, LABELS, correct=correct)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.zeros(5, dtype=torch.float64), rtol=0.0, atol=1e-14)
    assert student.grad.abs().max() < 1e-14


def test_the_gradient_is_that_of_finite_differences():
    student = logits(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: tf_kd(s, LABELS), (student,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_confident_student_has_a_finite_loss_and_gradient(dtype):
    student = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = tf_kd(student, torch.tensor([0, 0]))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert (loss > 9e3).all()  # three classes in nearly equal parts: a third of 2e4 and of 1e4
    assert student.grad.isfinite().all()


def test_two_classes_are_enough():
    p = 1 / (1 + math.exp(-0.98 / 20))
    expected = p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))
    found = tf_kd(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([1])).item()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    zeros, labels = torch.zeros(2, 4), torch.tensor([0, 1])
    with pytest.raises(ShapeError, match=r"labels must be int64 class numbers, one a sample, \(2,\), got \(3,\)"):
        tf_kd(zeros, torch.tensor([0, 1, 2]))
    with pytest.raises(ConfigError, match=r"correct must be from 1/4 \(the uniform distribution\) to 1, got 0.2"):
        tf_kd(zeros, labels, correct=0.2)
    with pytest.raises(ConfigError, match=r"student_temperature must be positive, got 0"):
        tf_kd(zeros, labels, student_temperature=0.0)
