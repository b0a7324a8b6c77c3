"""DKD: target-class and non-target-class knowledge, weighted apart.

Paper: Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022. arXiv 2203.08679
Code: megvii-research/mdistiller
Reads: logits
Labels: same
Trains: the student
Differs: in log space, so a confident student and two classes stay finite; the warm-up advances by step
Results: benchmarks/digits/README.md
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["DKD", "DKDConfig"]


@dataclass(frozen=True, kw_only=True)
class DKDConfig:
    """Settings of DKD.

    Args:
        weight: Of the distillation term.
        alpha: Of the target-class part.
        beta: Of the other classes' part (8 on CIFAR-100; 2 for resnet56 → resnet20).
        temperature: Softens both distributions.
        warmup_epochs: The weight rises linearly over so many epochs (20 of the paper's 240).
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "dkd"
    weight: float = 1.0
    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 4.0
    warmup_epochs: float = 20.0
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(
            weight=self.weight,
            alpha=self.alpha,
            beta=self.beta,
            warmup_epochs=self.warmup_epochs,
            task_weight=self.task_weight,
        )

    def build(self, student: Shapes, teacher: Shapes) -> "DKD":
        """Make the module."""
        return DKD(self)


class DKD(Method):
    """Decoupled knowledge distillation.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DKDConfig) -> None:
        super().__init__(Needs(labels=("same",)))
        self.config = config
        self._epoch = 0.0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``dkd``, whose weight warms up."""
        cfg = self.config
        loss = losses.dkd(
            student.logits,
            teacher.logits,
            batch.labels,
            alpha=cfg.alpha,
            beta=cfg.beta,
            temperature=cfg.temperature,
        )
        share = min(self._epoch / cfg.warmup_epochs, 1.0) if cfg.warmup_epochs else 1.0
        return {"dkd": Term(loss.mean(), cfg.weight * share)}

    def after_step(self, epoch: float) -> None:
        """Advance the warm-up."""
        self._epoch = epoch

    def get_extra_state(self) -> dict[str, Any]:
        """The position in the warm-up."""
        return {"epoch": self._epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the position in the warm-up."""
        self._epoch = state["epoch"]
