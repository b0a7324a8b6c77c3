"""AT: every stage of the student attends to the places that the teacher's attends to.

Paper: Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017. arXiv 1612.03928
Code: szagoruyko/attention-transfer; reduction and weight as in HobbitLong/RepDistiller@b84f547
Reads: stage1, stage2
Labels: any
Trains: the student
Differs: stages are paired by name, so that those which one network lacks are left out; tokens are places, too
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from tutelage import losses
from tutelage.errors import ShapeError
from tutelage.methods.adapters.places import channels_first, paired_features, same_places
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["AT", "ATConfig"]


@dataclass(frozen=True, kw_only=True)
class ATConfig(Summable):
    """Settings of AT.

    Args:
        weight: Of the sum over the stages.
        power: Of the activations in an attention map.
        roles: The maps that are compared; none named: every stage that both networks have.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "at"
    weight: float = 1000.0
    power: float = 2.0
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(power=self.power)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "AT":
        """Make the module.

        Raises:
            ConfigError: if the networks share no stage and none is named.
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if a feature is a vector, which has no places to attend to.
        """
        roles = self.roles or shared_stages(self.name, student, teacher)
        for role in roles:
            ours, _ = paired_features(self.name, role, student, teacher)
            if len(ours) == 1:
                raise ShapeError(f"at compares where networks attend to, and {role!r} is a vector: name a map")
        return AT(self, roles)


class AT(Method):
    """Attention transfer.

    Args:
        config: Its settings.
        roles: The maps that are compared.
    """

    def __init__(self, config: ATConfig, roles: tuple[str, ...]) -> None:
        super().__init__(Needs(roles=roles))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``attention``, the sum over the stages; the larger map is pooled to the size of the smaller."""
        cfg, gaps = self.config, []
        for role in self.needs.roles:
            ours, theirs = same_places(channels_first(student.taps[role]), channels_first(teacher.taps[role]))
            gaps.append(losses.attention_transfer(ours, theirs, power=cfg.power).mean())
        return {"attention": Term(torch.stack(gaps).sum(), cfg.weight)}
