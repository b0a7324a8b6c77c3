"""OFD: every stage of the student follows the teacher's where it is active, and only there.

Features are what the taps give. In the zoo that is behind the ReLU, where no activation is negative and every margin
zero: name a tap before it for the features of the paper.

Paper: Heo, Kim, Yun, Park, Kwak, Choi. A Comprehensive Overhaul of Feature Distillation. ICCV 2019. arXiv 1904.01866
Code: clovaai/overhaul-distillation@76344a8
Reads: stage1, stage2
Labels: any
Trains: the student and the connectors
Differs: taps may be behind the ReLU; margins are means over the training images, not of the normal law of a batch norm
Results: benchmarks/cifar100/README.md
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from tutelage.methods.adapters.overhauled import Overhauled, find_margins
from tutelage.methods.adapters.places import channels_first, paired_features
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["OFD", "OFDConfig"]


@dataclass(frozen=True, kw_only=True)
class OFDConfig(Summable):
    """Settings of OFD.

    Args:
        weight: Of the last stage; each stage before has half the weight of the next.
        roles: The features that are compared, first to last; none named: every stage that both networks have.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "ofd"
    weight: float = 1e-3
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "OFD":
        """Make the module; its connectors fit the features.

        Raises:
            ConfigError: if the networks share no stage and none is named.
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if a feature is of another kind in each.
        """
        roles = self.roles or shared_stages(self.name, student, teacher)
        parts = [Overhauled(*paired_features(self.name, role, student, teacher)) for role in roles]
        return OFD(self, roles, parts)


class OFD(Method):
    """Overhaul of feature distillation.

    Args:
        config: Its settings.
        roles: The features that are compared, first to last.
        parts: What compares each.
    """

    def __init__(self, config: OFDConfig, roles: tuple[str, ...], parts: list[Overhauled]) -> None:
        # Through the connectors' batch norm samples depend on each other.
        super().__init__(Needs(roles=roles, compares_samples=True, at_least=2))
        self.config = config
        self.parts = nn.ModuleList(parts)

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Find the margins: the means of the teacher's negative activations."""
        find_margins(dict(self._each()), teacher, batches)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``overhaul``, the sum over the stages."""
        gaps = []
        for before_last, (role, part) in zip(reversed(range(len(self.parts))), self._each(), strict=True):
            gap = part(channels_first(student.taps[role]), channels_first(teacher.taps[role]))
            gaps.append(gap.mean() / 2**before_last)
        return {"overhaul": Term(torch.stack(gaps).sum(), self.config.weight)}

    def _each(self) -> Iterator[tuple[str, Overhauled]]:
        yield from zip(self.needs.roles, self.parts, strict=True)
