"""FSP: first the student's flow from stage to stage becomes the teacher's, then the student learns from labels.

The first stage has no labels; the second begins where it ended. Where the networks' channels differ, a 1×1 convolution
without bias, learned in the first stage, brings the student's to the teacher's number. Such a convolution can take over
part of what the student should learn; ``connect=False`` refuses such pairs, as RepDistiller does.

Paper: Yim, Joo, Bae, Kim. A Gift from Knowledge Distillation. CVPR 2017. doi 10.1109/CVPR.2017.754
Code: none by the authors; loss and length of the first stage as in HobbitLong/RepDistiller@b84f547
Reads: stage1, stage2
Labels: any
Trains: the student and the connectors, in a stage before; then the student
Differs: connectors where channels differ; no flow from the stem; the weight is applied; the run's schedule in both
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods.adapters import paired_shapes, same_size
from tutelage.methods.adapters.labels_alone import LabelsAlone
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs, Phase
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["FSP", "FSPConfig", "FlowConfig"]


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Settings of the first stage.

    Args:
        weight: Of the sum over the flows.
        connect: Bring the student's channels to the teacher's number, where it is another.
        roles: The maps, first to last, at least two; none named: every stage that both networks have.
    """

    name: ClassVar[str] = "flow"
    task_weight: ClassVar[float] = 0.0
    weight: float = 50.0
    connect: bool = True
    roles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight)

    def build(self, student: Shapes, teacher: Shapes) -> "FSP":
        """Make the module; its connectors fit the maps.

        Raises:
            ConfigError: if there are no two maps.
            UnknownNameError: if one of the networks has no such feature; names the nearest.
            ShapeError: if a feature is no map, or channels differ and are not to be connected.
        """
        roles = self.roles or shared_stages("fsp", student, teacher)
        if len(roles) < 2:
            raise ConfigError(f"fsp compares what happens between two maps, got {roles[0]}: name another, --fsp.roles")
        return FSP(self, roles, [self._connector(role, student, teacher) for role in roles])

    def _connector(self, role: str, student: Shapes, teacher: Shapes) -> nn.Module:
        ours, theirs = paired_shapes("fsp", role, student, teacher)
        if len(ours) != 3:
            raise ShapeError(f"fsp compares maps, and {role!r} is a vector: choose another role or tap")
        if ours[0] == theirs[0]:
            return nn.Identity()
        if not self.connect:
            raise ShapeError(
                f"fsp without connectors needs as many channels in both networks, and {role!r} has {ours[0]} in the "
                f"student and {theirs[0]} in the teacher: leave out connect=False or choose other roles"
            )
        return nn.Conv2d(ours[0], theirs[0], 1, bias=False)


@dataclass(frozen=True, kw_only=True)
class FSPConfig(Summable):
    """Settings of FSP.

    Args:
        weight: Of the sum over the flows in the first stage: 50 in RepDistiller's script, whose code does not apply it.
        connect: Bring the student's channels to the teacher's number, where it is another.
        flow_epochs: Length of the first stage, as a share of the second's: 30 of 240.
        roles: The maps, first to last, at least two; none named: every stage that both networks have.
        task_weight: Of the cross-entropy in the second stage.
    """

    name: ClassVar[str] = "fsp"
    teacher_free: ClassVar[bool] = True  # its own stage; the one before is taught
    weight: float = 50.0
    connect: bool = True
    flow_epochs: float = 0.125
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(flow_epochs=self.flow_epochs)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    @property
    def before(self) -> tuple[Phase, ...]:
        """The first stage."""
        flow = FlowConfig(weight=self.weight, connect=self.connect, roles=self.roles)
        return (Phase(name="flow", method=flow, epochs=self.flow_epochs),)

    def build(self, student: Shapes, teacher: Shapes) -> LabelsAlone:
        """Make the module of the second stage."""
        return LabelsAlone()


class FSP(Method):
    """Flow of the solution procedure, the first stage.

    Args:
        config: Its settings.
        roles: The maps, first to last.
        connectors: From each of the student's to the teacher's channels.
    """

    def __init__(self, config: FlowConfig, roles: tuple[str, ...], connectors: list[nn.Module]) -> None:
        super().__init__(Needs(roles=roles, judge="none"))
        self.config = config
        self.connectors = nn.ModuleList(connectors)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``flow``, the sum over neighbouring maps, of which the larger is pooled to the smaller."""
        each = zip(self.needs.roles, self.connectors, strict=True)
        ours = [connector(student.taps[role]) for role, connector in each]
        theirs = [teacher.taps[role] for role in self.needs.roles]
        flows = zip(pairwise(ours), pairwise(theirs), strict=True)
        gaps = [losses.fsp(same_size(*mine), same_size(*other)).mean() for mine, other in flows]
        return {"flow": Term(torch.stack(gaps).sum(), self.config.weight)}
