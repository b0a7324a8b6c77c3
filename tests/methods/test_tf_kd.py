"""Tf-KD: the weights of the authors' code, and the form of their paper as a setting."""

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods import TfKDConfig
from tutelage.types import Batch, Outputs

LABELS = torch.arange(6)
BATCH = Batch(torch.zeros(6, 1, 2, 2), LABELS, LABELS, torch.zeros(6, dtype=torch.int64))


def logits(classes=100):
    return torch.randn(6, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def objective(config, student):
    """Cross-entropy and the method's term, weighted, as the engine adds them up."""
    answers = Outputs(student, {})
    (term,) = config.build({}, {})(answers, answers, BATCH).values()
    return config.task_weight * F.cross_entropy(student, LABELS) + term.weight * term.value


def softmax(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


# loss_kd_regularization in my_loss_function.py of yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3, with
# reg_alpha, multiplier and reg_temperature of experiments/base_experiments/base_{resnet18,mobilenetv2}/params.json
@pytest.mark.parametrize(
    ("config", "alpha", "multiplier", "temperature"),
    [
        (TfKDConfig(), 0.1, 100.0, 20.0),
        (TfKDConfig(task_weight=0.05, weight=0.0095, temperature=40.0), 0.95, 1.0, 40.0),
    ],
)
def test_with_100_classes_the_objective_is_the_formula_of_the_authors(config, alpha, multiplier, temperature):
    student, total = logits(), 0.0
    for row, label in zip(student.tolist(), LABELS.tolist(), strict=True):
        target = softmax([(0.99 if c == label else 0.01 / 99) / temperature for c in range(100)])
        ours = softmax(row)
        divergence = (
            sum(p * math.log(p / q) for p, q in zip(target, ours, strict=True)) / 100
        )  # their mean over classes
        total -= (1 - alpha) * math.log(ours[label])
        total += alpha * multiplier * divergence
    assert objective(config, student).item() == pytest.approx(total / 6, rel=1e-9)


def test_the_paper_s_equation_softens_the_student_as_well():
    config = TfKDConfig(temperature=10.0, student_temperature=10.0, correct=0.9, weight=2.0, task_weight=0.0)
    expected = losses.tf_kd(logits(), LABELS, correct=0.9, temperature=10.0, student_temperature=10.0).mean()
    torch.testing.assert_close(objective(config, logits()), 2 * expected)


def test_with_its_defaults_it_is_nearly_label_smoothing_with_a_tenth_over_all_classes():
    """What the code does, whatever the paper says: the virtual teacher is as good as uniform."""
    gradients = []
    for total in (
        lambda student: objective(TfKDConfig(), student),
        lambda student: losses.label_smoothing(student, LABELS, smoothing=0.1, over="all").mean(),
    ):
        student = logits().requires_grad_()
        gradients += torch.autograd.grad(total(student), student)
    gap = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert 0 < gap < 1e-4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correct": 0.0}, r"correct must be a probability above 0, got 0\.0"),
        ({"correct": 1.1}, r"correct must be .*got 1\.1"),
        ({"student_temperature": 0.0}, r"student_temperature must be .*got 0\.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TfKDConfig(**settings)
