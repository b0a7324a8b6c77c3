"""FitNet: the student's middle feature, through a learned adapter, matches the teacher's.

Paper: Romero, Ballas, Kahou, Chassang, Gatta, Bengio. FitNets: Hints for Thin Deep Nets. ICLR 2015. arXiv 1412.6550
Code: adri-romsor/FitNets; weight and joint training as in HobbitLong/RepDistiller@b84f547
Reads: stage2
Labels: any
Trains: the student and the adapter
Differs: hint and task together (the paper trains the hint first); no ReLU after the adapter, as taps may be negative
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tutelage import losses
from tutelage.methods.adapters import hint_adapter, paired_shapes, same_size
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["FitNet", "FitNetConfig"]


@dataclass(frozen=True, kw_only=True)
class FitNetConfig(Summable):
    """Settings of FitNet.

    Args:
        weight: Of the hint term.
        role: The feature that is matched.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "fitnet"
    weight: float = 100.0
    role: str = "stage2"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "FitNet":
        """Make the module; its adapter fits the two features.

        Raises:
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if one feature is a map and the other a vector.
        """
        ours, theirs = paired_shapes(self.name, self.role, student, teacher)
        return FitNet(self, hint_adapter(ours, theirs))


class FitNet(Method):
    """Hint training.

    Args:
        config: Its settings.
        adapter: Maps the student's feature to the teacher's width.
    """

    def __init__(self, config: FitNetConfig, adapter: nn.Module) -> None:
        # Through the adapter's batch norm samples depend on each other.
        super().__init__(Needs(roles=(config.role,), compares_samples=True, at_least=2))
        self.config = config
        self.adapter = adapter

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``hint``; the larger map is pooled to the size of the smaller."""
        ours, theirs = same_size(student.taps[self.config.role], teacher.taps[self.config.role])
        return {"hint": Term(losses.fitnet(self.adapter(ours), theirs).mean(), self.config.weight)}
