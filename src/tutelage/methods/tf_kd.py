"""Tf-KD: the student matches a teacher made by hand, right in 99 of 100 cases and very soft; no teacher.

This is the paper's Tf-KD_reg. Its Tf-KD_self is KD from a trained copy of the student, ``tutelage distill --method kd
--teacher RUN``, where RUN trained the same student by labels; for their ResNet18 on CIFAR-100 (temperature 6, α 0.95,
multiplier 50) with ``--kd.temperature 6 --kd.task-weight 0.05 --kd.weight 0.475``: see below for the 0.475.

Paper: Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing Regularization. arXiv 1909.11723
Code: https://github.com/yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3 (my_loss_function.py)
Reads: logits; no teacher
Labels: any
Trains: the student
Differs: the divergence is summed over the classes; theirs is a mean over them, times a multiplier of the network
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["TfKD", "TfKDConfig"]


@dataclass(frozen=True, kw_only=True)
class TfKDConfig(Summable):
    """Settings of Tf-KD_reg; the defaults are those of the authors' code for ResNet18 on CIFAR-100.

    Their code averages the divergence over samples and classes, and multiplies it by a number that depends on the
    network: with α = 0.1, a multiplier of 100 and 100 classes the weight is 0.1, beside 1 − α of cross-entropy. For
    MobileNetV2 (α = 0.95, multiplier 1, temperature 40) it is 0.0095, beside 0.05.

    Args:
        weight: Of the divergence from the virtual teacher.
        correct: Probability that the virtual teacher gives to the label; 0.99 in their code.
        temperature: Of the virtual teacher.
        student_temperature: Of the student; 1 in their code. The paper's equation has that of the virtual teacher:
            give both the same number.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "tf_kd"
    teacher_free: ClassVar[bool] = True
    weight: float = 0.1
    correct: float = 0.99
    temperature: float = 20.0
    student_temperature: float = 1.0
    task_weight: float = 0.9

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, student_temperature=self.student_temperature)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)
        if not 0 < self.correct <= 1:
            raise ConfigError(f"correct must be a probability above 0, got {self.correct}")

    def build(self, student: Shapes, teacher: Shapes) -> "TfKD":
        """Make the module."""
        return TfKD(self)


class TfKD(Method):
    """Teacher-free distillation from a virtual teacher.

    Args:
        config: Its settings.
    """

    def __init__(self, config: TfKDConfig) -> None:
        super().__init__(Needs(teacher=False))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``virtual``; the answers of the teacher are not read."""
        cfg = self.config
        loss = losses.tf_kd(
            student.logits,
            batch.labels,
            correct=cfg.correct,
            temperature=cfg.temperature,
            student_temperature=cfg.student_temperature,
        )
        return {"virtual": Term(loss.mean(), cfg.weight)}
