"""Logit MSE: the student matches the teacher's logits, number by number.

Paper: Ba, Caruana. Do Deep Nets Really Need to be Deep? NeurIPS 2014. arXiv 1312.6184
Code: none by the authors
Reads: logits
Labels: same
Trains: the student
Differs: beside the cross-entropy (the paper has none); the mean over classes (the paper sums and halves)
Results: benchmarks/cifar100/ckd.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.ops.standardize import compared_logits
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["LogitMSE", "LogitMSEConfig"]


@dataclass(frozen=True, kw_only=True)
class LogitMSEConfig(Summable):
    """Settings of logit MSE.

    Args:
        weight: Of the distillation term.
        standardize: Compare the logits of each as z-scores, without their own mean and scale (Sun et al. 2024):
            2 (k − 1) / k of one minus their correlation over the k classes; the labels alone then set mean and scale.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "logit_mse"
    weight: float = 1.0
    standardize: bool = False
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "LogitMSE":
        """Make the module."""
        return LogitMSE(self)


class LogitMSE(Method):
    """Regression of the teacher's logits.

    Args:
        config: Its settings.
    """

    def __init__(self, config: LogitMSEConfig) -> None:
        super().__init__(Needs(labels=("same",)))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``logit_mse``."""
        ours, theirs = compared_logits(student.logits, teacher.logits, standardized=self.config.standardize)
        return {"logit_mse": Term(losses.logit_mse(ours, theirs).mean(), self.config.weight)}
