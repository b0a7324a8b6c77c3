import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import label_smoothing

few = settings(max_examples=15, deadline=None)
LABELS = torch.tensor([0, 1, 2, 3, 0])


def logits(seed, n=5, k=4):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smoothed(label, k, alpha, over):
    spread = [alpha / k] * k if over == "all" else [alpha / (k - 1)] * k
    spread[label] = 1 - alpha + (alpha / k if over == "all" else 0.0)
    return spread


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_loss_is_its_definition_as_loops(over, smoothing):
    student, expected = logits(0), []
    for row, label in zip(student.tolist(), LABELS.tolist(), strict=True):
        total = math.log(sum(math.exp(z) for z in row))
        target = smoothed(label, 4, smoothing, over)
        expected.append(sum(t * (total - z) for t, z in zip(target, row, strict=True)))
    found = label_smoothing(student, LABELS, smoothing=smoothing, over=over)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-12, atol=0.0)


# https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation/blob/d000ab378a409535a5f5f645b473e05e27529a02/my_loss_function.py
# (loss_label_smoothing) in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1].
def test_loss_and_gradient_are_those_of_the_code_of_tf_kd(wave):
    student = (3 * wave(6, 5)).requires_grad_()
    value = label_smoothing(student, torch.tensor([0, 1, 2, 3, 4, 0])).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [3.5608906668296, 0.446667402310393, 0.126023513462846], rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_spread_over_all_classes_it_is_that_of_pytorch(smoothing):
    expected = F.cross_entropy(logits(0), LABELS, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(label_smoothing(logits(0), LABELS, smoothing=smoothing, over="all"), expected)


@few
@given(st.integers(0, 10**6))
def test_permuting_the_classes_of_both_changes_nothing(seed):
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved = label_smoothing(logits(seed)[:, order], order.argsort()[LABELS])
    torch.testing.assert_close(moved, label_smoothing(logits(seed), LABELS))


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_sample_changes_nothing(seed, constant):
    student = logits(seed)
    torch.testing.assert_close(label_smoothing(student + constant, LABELS), label_smoothing(student, LABELS))


@few
@given(st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_loss(seed):
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    student = logits(seed)
    torch.testing.assert_close(label_smoothing(student[order], LABELS[order]), label_smoothing(student, LABELS)[order])


@pytest.mark.parametrize("over", ["others", "all"])
def test_the_loss_is_least_where_the_student_gives_the_smoothed_label(over):
    target = torch.tensor([smoothed(label, 4, 0.1, over) for label in LABELS.tolist()], dtype=torch.float64)
    student = target.log().requires_grad_()
    loss = label_smoothing(student, LABELS, over=over)
    loss.sum().backward()
    torch.testing.assert_close(loss, -(target * target.log()).sum(1))
    assert student.grad.abs().max() < 1e-12


def test_the_gradient_is_that_of_finite_differences():
    student = logits(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: label_smoothing(s, LABELS), (student,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_confident_student_that_is_wrong_has_a_finite_loss_and_gradient(dtype):
    student = torch.tensor([[-1e4, 1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = label_smoothing(student, torch.tensor([0]))
    loss.sum().backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.9 * 2e4 + 0.05 * 1e4, rel=5e-3)  # 1e4 is 9984 in bfloat16
    torch.testing.assert_close(student.grad.float(), torch.tensor([[-0.9, 0.95, -0.05]]), rtol=4e-3, atol=0.0)


def test_two_classes_can_be_smoothed_until_they_are_equal():
    student, label = torch.tensor([[3.0, 0.0]]), torch.tensor([0])
    either_way = label_smoothing(student, label, smoothing=0.5)
    torch.testing.assert_close(either_way, label_smoothing(student, 1 - label, smoothing=0.5))
    with pytest.raises(ConfigError, match=r"smoothing must be from 0 to 0.5 \(the uniform distribution\), got 0.6"):
        label_smoothing(student, label, smoothing=0.6)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"labels must be class numbers from 0 to 3, got 0 to 4: map the labels"):
        label_smoothing(torch.zeros(2, 4), torch.tensor([0, 4]))
    with pytest.raises(ShapeError, match=r"got torch.int64: convert with .float\(\)"):
        label_smoothing(torch.zeros(2, 4).long(), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match=r"smoothing must be from 0 to 1 \(the uniform distribution\), got -0.1"):
        label_smoothing(torch.zeros(2, 4), torch.tensor([0, 1]), smoothing=-0.1, over="all")
    with pytest.raises(ConfigError, match=r"over must be 'others' or 'all', got 'rest'"):
        label_smoothing(torch.zeros(2, 4), torch.tensor([0, 1]), over="rest")
