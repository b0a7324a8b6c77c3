"""PKT: the chance that a sample has of being another's neighbour is the one that the teacher gives it.

Paper: Passalis, Tefas. Learning Deep Representations with Probabilistic Knowledge Transfer. ECCV 2018. arXiv 1803.10837
Code: passalis/probabilistic_kt, as in HobbitLong/RepDistiller@b84f547; weight of the latter
Reads: embedding
Labels: any
Trains: the student
Differs: no 1e-7 beside the length of a row
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["PKT", "PKTConfig"]


@dataclass(frozen=True, kw_only=True)
class PKTConfig(Summable):
    """Settings of PKT.

    Args:
        weight: Of the distillation term.
        role: The features that are compared.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "pkt"
    weight: float = 30000.0
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "PKT":
        """Make the module."""
        return PKT(self)


class PKT(Method):
    """Probabilistic knowledge transfer.

    Args:
        config: Its settings.
    """

    def __init__(self, config: PKTConfig) -> None:
        super().__init__(Needs(roles=(config.role,), compares_samples=True, at_least=2))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``probability``; a map counts as the vector of its numbers."""
        ours, theirs = student.taps[self.config.role].flatten(1), teacher.taps[self.config.role].flatten(1)
        return {"probability": Term(losses.pkt(ours, theirs).mean(), self.config.weight)}
