"""CC: the student's kernel matrix over the samples of a batch matches the teacher's.

Paper: Peng et al. Correlation Congruence for Knowledge Distillation. ICCV 2019. arXiv 1904.01802
Code: none by the authors; kernel form and weight as in AberHu/Knowledge-Distillation-Zoo@65470c8
Reads: embedding
Labels: any
Trains: the student
Differs: no instance term and no class-wise sampler; any widths; the weight of 0.02 in RepDistiller is of another loss
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["CC", "CCConfig"]


@dataclass(frozen=True, kw_only=True)
class CCConfig(Summable):
    """Settings of correlation congruence.

    Args:
        weight: Of the distillation term.
        gamma: Width of the Gaussian kernel.
        order: Last power of its expansion.
        role: The features that are compared.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "cc"
    weight: float = 100.0
    gamma: float = 0.4
    order: int = 2
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(gamma=self.gamma)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)
        if self.order < 1:
            raise ConfigError(f"order must be at least 1, got {self.order}: the kernel would be a constant")

    def build(self, student: Shapes, teacher: Shapes) -> "CC":
        """Make the module."""
        return CC(self)


class CC(Method):
    """Correlation congruence.

    Args:
        config: Its settings.
    """

    def __init__(self, config: CCConfig) -> None:
        super().__init__(Needs(roles=(config.role,), compares_samples=True, at_least=2))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``correlation``; a map counts as the vector of its numbers."""
        cfg = self.config
        ours, theirs = student.taps[cfg.role].flatten(1), teacher.taps[cfg.role].flatten(1)
        loss = losses.correlation_congruence(ours, theirs, gamma=cfg.gamma, order=cfg.order)
        return {"correlation": Term(loss.mean(), cfg.weight)}
