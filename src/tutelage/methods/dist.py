"""DIST: the student's answers correlate with the teacher's, within a sample and within a class.

Paper: Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022. arXiv 2205.10536
Code: hunto/DIST_KD@2418f18
Reads: logits
Labels: same
Trains: the student
Differs: nothing where rows and columns vary; a constant one sends back no gradient
Results: benchmarks/cifar100/ckd.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.standardize import compared_logits
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["DIST", "DISTConfig"]


@dataclass(frozen=True, kw_only=True)
class DISTConfig(Summable):
    """Settings of DIST.

    Args:
        weight: Of the distillation term (2 on CIFAR-100).
        beta: Of the correlation within a sample.
        gamma: Of the correlation within a class.
        temperature: Softens both distributions (4 on CIFAR-100, 1 on ImageNet).
        standardize: Compare the logits of each as z-scores, without their own mean and scale (Sun et al. 2024).
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "dist"
    weight: float = 2.0
    beta: float = 1.0
    gamma: float = 1.0
    temperature: float = 4.0
    standardize: bool = False
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(weight=self.weight, beta=self.beta, gamma=self.gamma, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "DIST":
        """Make the module."""
        return DIST(self)


class DIST(Method):
    """Distillation of correlations.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DISTConfig) -> None:
        super().__init__(Needs(labels=("same",), compares_samples=True, at_least=2))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``dist``."""
        cfg = self.config
        ours, theirs = compared_logits(student.logits, teacher.logits, standardized=cfg.standardize)
        loss = losses.dist(ours, theirs, beta=cfg.beta, gamma=cfg.gamma, temperature=cfg.temperature)
        return {"dist": Term(loss.mean(), cfg.weight)}
