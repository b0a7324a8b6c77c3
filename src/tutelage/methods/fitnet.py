"""FitNet: the student's middle feature, through a learned adapter, matches the teacher's.

Paper: Romero, Ballas, Kahou, Chassang, Gatta, Bengio. FitNets: Hints for Thin Deep Nets. ICLR 2015. arXiv 1412.6550
Code: adri-romsor/FitNets; weight and joint training as in HobbitLong/RepDistiller@b84f547
Reads: stage2
Labels: any
Trains: the student and the adapter
Differs: hint and task together (the paper trains the hint first); no ReLU after the adapter, as taps may be negative
Results: benchmarks/digits/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import ShapeError, UnknownNameError
from tutelage.methods.base import Method, Needs
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["FitNet", "FitNetConfig"]


@dataclass(frozen=True, kw_only=True)
class FitNetConfig:
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
        for who, shapes in (("student", student), ("teacher", teacher)):
            if self.role not in shapes:
                hint = f"Name its module path, as in --{who}.taps {self.role}=PATH"
                raise UnknownNameError(f"tap of the {who}", self.role, shapes, hint=hint)
        ours, theirs = student[self.role], teacher[self.role]
        if len(ours) != len(theirs) or len(ours) not in (1, 3):
            raise ShapeError(
                f"fitnet compares two maps or two vectors, but {self.role!r} is {ours} in the student "
                f"and {theirs} in the teacher: choose another role or tap"
            )
        if len(ours) == 1:
            return FitNet(self, nn.Sequential(nn.Linear(ours[0], theirs[0]), nn.BatchNorm1d(theirs[0])))
        return FitNet(self, nn.Sequential(nn.Conv2d(ours[0], theirs[0], 1), nn.BatchNorm2d(theirs[0])))


class FitNet(Method):
    """Hint training.

    Args:
        config: Its settings.
        adapter: Maps the student's feature to the teacher's width.
    """

    def __init__(self, config: FitNetConfig, adapter: nn.Module) -> None:
        # The adapter's batch norm keeps the weight of 100 stable (without it the hint drowns the labels), and makes
        # samples depend on each other.
        super().__init__(Needs(roles=(config.role,), compares_samples=True))
        self.config = config
        self.adapter = adapter

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``hint``; the larger map is pooled to the size of the smaller."""
        ours, theirs = _same_size(student.taps[self.config.role], teacher.taps[self.config.role])
        return {"hint": Term(losses.fitnet(self.adapter(ours), theirs).mean(), self.config.weight)}


def _same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.dim() == 2 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, (height, width)), F.adaptive_avg_pool2d(teacher, (height, width))
