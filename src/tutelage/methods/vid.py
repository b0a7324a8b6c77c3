"""VID: the student's middle feature predicts the teacher's, with a learned variance a channel.

Paper: Ahn, Hu, Damianou, Lawrence, Dai. Variational Information Distillation. CVPR 2019. arXiv 1904.05835
Code: ssahn0215/variational-information-distillation, as in HobbitLong/RepDistiller@b84f547
Reads: stage2
Labels: any
Trains: the student, the regressor and the variances
Differs: one feature (RepDistiller: the mean of every stage); vectors too, through linear layers
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tutelage import losses
from tutelage.methods.adapters import (
    INITIAL_VARIANCE,
    paired_shapes,
    raw_variance,
    regressor,
    same_size,
    variance_of,
)
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["VID", "VIDConfig"]


@dataclass(frozen=True, kw_only=True)
class VIDConfig(Summable):
    """Settings of VID.

    Args:
        weight: Of the distillation term.
        variance: Of every channel before training.
        role: The feature that is predicted.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "vid"
    weight: float = 1.0
    variance: float = INITIAL_VARIANCE
    role: str = "stage2"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(variance=self.variance)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "VID":
        """Make the module; its regressor fits the two features.

        Raises:
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if one feature is a map and the other a vector.
        """
        ours, theirs = paired_shapes(self.name, self.role, student, teacher)
        return VID(self, regressor(ours, theirs), theirs[0])


class VID(Method):
    """Variational information distillation.

    Args:
        config: Its settings.
        regressor: Maps the student's feature to the mean of the teacher's.
        channels: Of the teacher's feature.
    """

    def __init__(self, config: VIDConfig, regressor: nn.Module, channels: int) -> None:
        super().__init__(Needs(roles=(config.role,)))
        self.config = config
        self.regressor = regressor
        self.spread = raw_variance(config.variance, channels)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``vid``; the larger map is pooled to the size of the smaller."""
        ours, theirs = same_size(student.taps[self.config.role], teacher.taps[self.config.role])
        loss = losses.vid(self.regressor(ours), theirs, variance_of(self.spread))
        return {"vid": Term(loss.mean(), self.config.weight)}
