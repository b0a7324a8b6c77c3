"""NST: the channels of the student are selective for the places that those of the teacher are selective for.

Paper: Huang, Wang. Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. 2017. arXiv 1707.01219
Code: none by the authors; loss, weight and stages as in HobbitLong/RepDistiller@b84f547
Reads: stage1, stage2
Labels: any
Trains: the student
Differs: nothing
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from tutelage import losses
from tutelage.errors import ShapeError
from tutelage.methods.adapters import paired_shapes, same_size
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["NST", "NSTConfig"]


@dataclass(frozen=True, kw_only=True)
class NSTConfig(Summable):
    """Settings of NST.

    Args:
        weight: Of the distillation term.
        roles: The maps that are compared, whose losses are added; none: all stages that both networks have.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "nst"
    weight: float = 50.0
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "NST":
        """Make the module.

        Raises:
            ConfigError: if no roles are given and the networks share no stage.
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if a feature is no map.
        """
        roles = self.roles or shared_stages(self.name, student, teacher)
        for role in roles:
            ours, theirs = paired_shapes(self.name, role, student, teacher)
            if len(ours) != 3:
                raise ShapeError(
                    f"nst compares maps, but {role!r} is {ours} in the student and {theirs} in the teacher: "
                    "choose another role or tap"
                )
        return NST(self, roles)


class NST(Method):
    """Neuron selectivity transfer.

    Args:
        config: Its settings.
        roles: The maps that are compared.
    """

    def __init__(self, config: NSTConfig, roles: tuple[str, ...]) -> None:
        super().__init__(Needs(roles=roles))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``selectivity``; the larger map is pooled to the size of the smaller."""
        pairs = [same_size(student.taps[role], teacher.taps[role]) for role in self.needs.roles]
        values = [losses.nst(ours, theirs).mean() for ours, theirs in pairs]
        return {"selectivity": Term(torch.stack(values).sum(), self.config.weight)}
