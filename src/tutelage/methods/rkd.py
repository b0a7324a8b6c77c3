"""RKD: the student's distances and angles between samples match the teacher's.

Paper: Park, Kim, Lu, Cho. Relational Knowledge Distillation. CVPR 2019. arXiv 1904.05068
Code: lenscloth/RKD; weights as in HobbitLong/RepDistiller@b84f547
Reads: embedding
Labels: any
Trains: the student
Differs: coincident rows have no direction (gradient zero there; the authors' reaches 3e8)
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["RKD", "RKDConfig"]


@dataclass(frozen=True, kw_only=True)
class RKDConfig(Summable):
    """Settings of RKD.

    Args:
        distance: Weight of the distance term.
        angle: Weight of the angle term.
        delta: Where the Huber gap turns linear.
        role: The features that are compared.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "rkd"
    distance: float = 25.0
    angle: float = 50.0
    delta: float = 1.0
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(delta=self.delta)
        check_non_negative(distance=self.distance, angle=self.angle, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "RKD":
        """Make the module."""
        return RKD(self)


class RKD(Method):
    """Relational knowledge distillation.

    Args:
        config: Its settings.
    """

    def __init__(self, config: RKDConfig) -> None:
        super().__init__(Needs(roles=(config.role,), compares_samples=True, at_least=3))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``distance`` and ``angle``, each where it has a weight."""
        cfg, terms = self.config, dict[str, Term]()
        ours, theirs = student.taps[cfg.role].flatten(1), teacher.taps[cfg.role].flatten(1)
        if cfg.distance:
            terms["distance"] = Term(losses.rkd_distance(ours, theirs, delta=cfg.delta).mean(), cfg.distance)
        if cfg.angle:
            terms["angle"] = Term(losses.rkd_angle(ours, theirs, delta=cfg.delta).mean(), cfg.angle)
        return terms
