"""SP: samples whose activations are alike in the teacher are alike in the student.

Paper: Tung, Mori. Similarity-Preserving Knowledge Distillation. ICCV 2019. arXiv 1907.09682
Code: none by the authors; loss (which they checked) and weight as in HobbitLong/RepDistiller@b84f547
Reads: stage2
Labels: any
Trains: the student
Differs: nothing
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from tutelage import losses
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["SP", "SPConfig"]


@dataclass(frozen=True, kw_only=True)
class SPConfig(Summable):
    """Settings of SP.

    Args:
        weight: Of the distillation term.
        roles: The features that are compared, whose losses are added; none: the last stage that both networks have.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "sp"
    weight: float = 3000.0
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "SP":
        """Make the module.

        Raises:
            ConfigError: if no roles are given and the networks share no stage.
        """
        return SP(self, self.roles or shared_stages(self.name, student, teacher)[-1:])


class SP(Method):
    """Similarity-preserving distillation.

    Args:
        config: Its settings.
        roles: The features that are compared.
    """

    def __init__(self, config: SPConfig, roles: tuple[str, ...]) -> None:
        super().__init__(Needs(roles=roles, compares_samples=True, at_least=2))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``similarity``; a map counts as the vector of its numbers."""
        values = [
            losses.similarity_preserving(student.taps[role].flatten(1), teacher.taps[role].flatten(1)).mean()
            for role in self.needs.roles
        ]
        return {"similarity": Term(torch.stack(values).sum(), self.config.weight)}
