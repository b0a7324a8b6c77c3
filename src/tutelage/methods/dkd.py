"""DKD: target-class and non-target-class knowledge, weighted apart.

Paper: Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022. arXiv 2203.08679
Code: megvii-research/mdistiller
Reads: logits
Labels: same
Trains: the student
Differs: in log space, so a confident student and two classes stay finite; the warm-up advances by step
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.methods.base import Needs, WarmingMethod
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.standardize import compared_logits
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["DKD", "DKDConfig"]


@dataclass(frozen=True, kw_only=True)
class DKDConfig(Summable):
    """Settings of DKD.

    Args:
        weight: Of the distillation term.
        alpha: Of the target-class part.
        beta: Of the other classes' part (8 on CIFAR-100; 2 for resnet56 → resnet20).
        temperature: Softens both distributions.
        standardize: Compare the logits of each as z-scores, without their own mean and scale (Sun et al. 2024);
            on CIFAR-100 the authors set a weight of 9 and a temperature of 2 beside it.
        warmup_epochs: The weight rises linearly over so many epochs (20 of the paper's 240).
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "dkd"
    weight: float = 1.0
    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 4.0
    standardize: bool = False
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


class DKD(WarmingMethod):
    """Decoupled knowledge distillation.

    Args:
        config: Its settings.
    """

    def __init__(self, config: DKDConfig) -> None:
        super().__init__(Needs(labels=("same",), labelled=True))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``dkd``, whose weight warms up."""
        cfg = self.config
        ours, theirs = compared_logits(student.logits, teacher.logits, standardized=cfg.standardize)
        loss = losses.dkd(
            ours,
            theirs,
            batch.labels,
            alpha=cfg.alpha,
            beta=cfg.beta,
            temperature=cfg.temperature,
        )
        share = self.warmth(cfg.warmup_epochs)
        return {"dkd": Term(loss.mean(), cfg.weight * share)}
