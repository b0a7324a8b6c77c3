"""VID: the student's middle feature predicts the teacher's, with a learned variance a channel.

Paper: Ahn, Hu, Damianou, Lawrence, Dai. Variational Information Distillation. CVPR 2019. arXiv 1904.05835
Code: ssahn0215/variational-information-distillation, as in HobbitLong/RepDistiller@b84f547
Reads: stage2
Labels: any
Trains: the student, the regressor and the variances
Differs: one feature (RepDistiller: the mean of every stage); vectors too, through linear layers
Results: benchmarks/digits/README.md
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import ShapeError, UnknownNameError
from tutelage.methods.base import Method, Needs
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["VID", "VIDConfig"]

_LEAST_VARIANCE = 1e-5
"""Keeps the quotient finite; the authors' value."""


@dataclass(frozen=True, kw_only=True)
class VIDConfig:
    """Settings of VID.

    Args:
        weight: Of the distillation term.
        variance: Of every channel before training.
        role: The feature that is predicted.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "vid"
    weight: float = 1.0
    variance: float = 5.0
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
        for who, shapes in (("student", student), ("teacher", teacher)):
            if self.role not in shapes:
                hint = f"Name its module path, as in --{who}.taps {self.role}=PATH"
                raise UnknownNameError(f"tap of the {who}", self.role, shapes, hint=hint)
        ours, theirs = student[self.role], teacher[self.role]
        if len(ours) != len(theirs) or len(ours) not in (1, 3):
            raise ShapeError(
                f"vid compares two maps or two vectors, but {self.role!r} is {ours} in the student "
                f"and {theirs} in the teacher: choose another role or tap"
            )
        return VID(self, _regressor(ours[0], theirs[0], maps=len(ours) == 3), theirs[0])


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
        # The inverse of softplus; a variance below the least starts at the least.
        above = max(config.variance - _LEAST_VARIANCE, _LEAST_VARIANCE)
        self.spread = nn.Parameter(torch.full((channels,), above + math.log(-math.expm1(-above))))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``vid``; the larger map is pooled to the size of the smaller."""
        ours, theirs = _same_size(student.taps[self.config.role], teacher.taps[self.config.role])
        variance = F.softplus(self.spread) + _LEAST_VARIANCE
        return {"vid": Term(losses.vid(self.regressor(ours), theirs, variance).mean(), self.config.weight)}


def _regressor(ours: int, theirs: int, *, maps: bool) -> nn.Module:
    """Three 1×1 convolutions, or linear layers."""

    def layer(width: int) -> nn.Module:
        return nn.Conv2d(width, theirs, 1, bias=False) if maps else nn.Linear(width, theirs, bias=False)

    return nn.Sequential(layer(ours), nn.ReLU(), layer(theirs), nn.ReLU(), layer(theirs))


def _same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.dim() == 2 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, (height, width)), F.adaptive_avg_pool2d(teacher, (height, width))
