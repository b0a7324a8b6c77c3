"""KD: the student matches the teacher's softened class distribution.

Paper: Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. arXiv 1503.02531
Code: none by the authors; weights and temperature as in HobbitLong/RepDistiller@b84f547
Reads: logits
Labels: same
Trains: the student
Differs: nothing
Results: benchmarks/cifar100/kd.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.standardize import compared_logits
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["KD", "KDConfig"]


@dataclass(frozen=True, kw_only=True)
class KDConfig(Summable):
    """Settings of KD.

    Args:
        weight: Of the distillation term.
        temperature: Softens both distributions.
        standardize: Compare the logits of each as z-scores, without their own mean and scale (Sun et al. 2024);
            on CIFAR-100 the authors set a weight of 9 and a temperature of 2 beside it.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "kd"
    weight: float = 0.9
    temperature: float = 4.0
    standardize: bool = False
    task_weight: float = 0.1

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "KD":
        """Make the module."""
        return KD(self)


class KD(Method):
    """Knowledge distillation of logits.

    Args:
        config: Its settings.
    """

    def __init__(self, config: KDConfig) -> None:
        super().__init__(Needs(labels=("same",)))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``kd``."""
        ours, theirs = compared_logits(student.logits, teacher.logits, standardized=self.config.standardize)
        loss = losses.kd(ours, theirs, temperature=self.config.temperature)
        return {"kd": Term(loss.mean(), self.config.weight)}
