"""AB: first the student's neurons learn where the teacher's are active, then the student learns from labels.

The first stage has no labels; the second begins where it ended. The authors' script adds KD to the second
(``--method ab+kd``), RepDistiller does not. The loss asks of the teacher only which activations are above zero, so that
its features may be behind the ReLU, as in the zoo; a connector always stands on the student's, which behind the ReLU
cannot go below zero.

Paper: Heo, Lee, Yun, Choi. Knowledge Transfer via Distillation of Activation Boundaries. AAAI 2019. arXiv 1811.03233
Code: bhheo/AB_distillation@a7701d3; length of the first stage as in HobbitLong/RepDistiller@b84f547
Reads: stage1, stage2
Labels: any
Trains: the student and the connectors, in a stage before; then the student
Differs: a connector also where channels agree; the student's taps may be behind the ReLU; the run's schedule in both
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from tutelage import losses
from tutelage.methods.adapters import hint_adapter, paired_shapes, same_size
from tutelage.methods.adapters.labels_alone import LabelsAlone
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs, Phase
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["AB", "ABConfig", "BoundaryConfig"]


@dataclass(frozen=True, kw_only=True)
class BoundaryConfig:
    """Settings of the first stage.

    Args:
        weight: Of the last feature; each feature before has half the weight of the next.
        margin: By how much an activation of the student must be on the teacher's side of zero.
        roles: The features, first to last; none named: every stage that both networks have.
    """

    name: ClassVar[str] = "boundary"
    task_weight: ClassVar[float] = 0.0
    weight: float = 3e-3
    margin: float = 1.0
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_positive(margin=self.margin)
        check_non_negative(weight=self.weight)

    def build(self, student: Shapes, teacher: Shapes) -> "AB":
        """Make the module; its connectors fit the features.

        Raises:
            ConfigError: if the networks share no stage and none is named.
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if a feature is of another kind in each, or neither map nor vector.
        """
        roles = self.roles or shared_stages("ab", student, teacher)
        connectors = [hint_adapter(*paired_shapes("ab", role, student, teacher)) for role in roles]
        return AB(self, roles, connectors)


@dataclass(frozen=True, kw_only=True)
class ABConfig(Summable):
    """Settings of AB.

    Args:
        weight: Of the last feature in the first stage; each feature before has half the weight of the next. 3/1000 in
            the authors' code, and in RepDistiller's, which writes it as 1.
        margin: By how much an activation of the student must be on the teacher's side of zero.
        boundary_epochs: Length of the first stage, as a share of the second's: 30 of 240.
        roles: The features, first to last; none named: every stage that both networks have.
        task_weight: Of the cross-entropy in the second stage.
    """

    name: ClassVar[str] = "ab"
    teacher_free: ClassVar[bool] = True  # its own stage; the one before is taught
    weight: float = 3e-3
    margin: float = 1.0
    boundary_epochs: float = 0.125
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(margin=self.margin, boundary_epochs=self.boundary_epochs)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    @property
    def before(self) -> tuple[Phase, ...]:
        """The first stage."""
        boundary = BoundaryConfig(weight=self.weight, margin=self.margin, roles=self.roles)
        return (Phase(name="boundary", method=boundary, epochs=self.boundary_epochs),)

    def build(self, student: Shapes, teacher: Shapes) -> LabelsAlone:
        """Make the module of the second stage."""
        return LabelsAlone()


class AB(Method):
    """Activation boundaries, the first stage.

    Args:
        config: Its settings.
        roles: The features, first to last.
        connectors: From each of the student's to the teacher's channels.
    """

    def __init__(self, config: BoundaryConfig, roles: tuple[str, ...], connectors: list[nn.Sequential]) -> None:
        # Through the connectors' batch norm samples depend on each other.
        super().__init__(Needs(roles=roles, compares_samples=True, at_least=2, judge="none"))
        self.config = config
        self.connectors = nn.ModuleList(connectors)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``boundary``, the sum over the features; the larger map is pooled to the size of the smaller."""
        gaps, before_last = [], len(self.connectors)
        for role, connector in zip(self.needs.roles, self.connectors, strict=True):
            before_last -= 1
            ours, theirs = same_size(student.taps[role], teacher.taps[role])
            gap = losses.activation_boundary(connector(ours), theirs, margin=self.config.margin)
            gaps.append(gap.mean() / 2**before_last)
        return {"boundary": Term(torch.stack(gaps).sum(), self.config.weight)}
