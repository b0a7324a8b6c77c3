"""Label smoothing (LSR): a little of the target goes to the classes that are not the label; no teacher.

Paper: Szegedy et al. Rethinking the Inception Architecture for Computer Vision. CVPR 2016. arXiv 1512.00567
Code: none by the authors; spread over the others as in yuanli2333/Teacher-free-Knowledge-Distillation@d000ab3
Reads: logits; no teacher
Labels: any
Trains: the student
Differs: the share goes to the other classes; over="all" is the paper's form, and PyTorch's
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["LabelSmoothing", "LabelSmoothingConfig"]


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingConfig(Summable):
    """Settings of label smoothing.

    Args:
        smoothing: Share of the target that is spread; 0.1 in the paper, and in the comparisons of Tf-KD.
        over: Spread over the other classes alone, or over all.
        weight: Of the cross-entropy with the smoothed label.
        task_weight: Of the cross-entropy with the hard label; 0, because the smoothed label stands in its place.
    """

    name: ClassVar[str] = "label_smoothing"
    teacher_free: ClassVar[bool] = True
    labels_inside: ClassVar[bool] = True
    smoothing: float = 0.1
    over: Literal["others", "all"] = "others"
    weight: float = 1.0
    task_weight: float = 0.0

    def __post_init__(self) -> None:
        check_non_negative(weight=self.weight, task_weight=self.task_weight)
        if not 0 <= self.smoothing <= 1:
            raise ConfigError(f"smoothing must be a share from 0 to 1, got {self.smoothing}")
        if self.over not in ("others", "all"):
            raise ConfigError(f"over must be 'others' or 'all', got {self.over!r}")

    def build(self, student: Shapes, teacher: Shapes) -> "LabelSmoothing":
        """Make the module."""
        return LabelSmoothing(self)


class LabelSmoothing(Method):
    """Label smoothing regularisation.

    Args:
        config: Its settings.
    """

    def __init__(self, config: LabelSmoothingConfig) -> None:
        super().__init__(Needs(teacher=False))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``smoothed``; the answers of the teacher are not read."""
        cfg = self.config
        loss = losses.label_smoothing(student.logits, batch.labels, smoothing=cfg.smoothing, over=cfg.over)
        return {"smoothed": Term(loss.mean(), cfg.weight)}
