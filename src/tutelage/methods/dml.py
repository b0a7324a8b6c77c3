"""DML: networks that learn at the same time match each other's class distributions.

Paper: Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018. arXiv 1706.00384
Code: YingZhangDUT/Deep-Mutual-Learning
Reads: logits; no teacher
Labels: same
Trains: the student
Differs: all networks step at once, on one forward each; the authors update them in turn, each on a fresh forward
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.standardize import compared_logits
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["DML", "DMLConfig"]


@dataclass(frozen=True, kw_only=True)
class DMLConfig(Summable):
    """Settings of DML.

    Args:
        weight: Of the divergence from the peers, in the mean over them.
        temperature: Softens both distributions; none in the paper.
        standardize: Compare the logits of each as z-scores, without their own mean and scale (Sun et al. 2024).
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "dml"
    teacher_free: ClassVar[bool] = True
    peers: ClassVar[bool] = True
    weight: float = 1.0
    temperature: float = 1.0
    standardize: bool = False
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "DML":
        """Make the module for one that learns and one that it learns from."""
        return DML(self)


class DML(Method):
    """Deep mutual learning, seen by one network and of one other.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DMLConfig) -> None:
        super().__init__(Needs(labels=("same",), teacher=False, peers=True))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``mutual``: KL(peer ‖ student)."""
        ours, theirs = compared_logits(student.logits, teacher.logits, standardized=self.config.standardize)
        loss = losses.kd(ours, theirs, temperature=self.config.temperature)
        return {"mutual": Term(loss.mean(), self.config.weight)}
