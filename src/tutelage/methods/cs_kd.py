"""CS-KD: a sample matches what the student itself says of another image of its class; no teacher.

Paper: Yun, Park, Lee, Shin. Regularizing Class-wise Predictions via Self-knowledge Distillation. arXiv 2003.13964
Code: https://github.com/alinlab/cs-kd@b447f25 (train.py, datasets.py)
Reads: logits; no teacher
Labels: any
Trains: the student
Differs: partners are in the batch and learn as well; theirs pass the network apart, without gradient, drawn freely
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage import losses
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["CSKD", "CSKDConfig"]


@dataclass(frozen=True, kw_only=True)
class CSKDConfig(Summable):
    """Settings of CS-KD; the defaults are those of the authors' code for CIFAR-100.

    Args:
        weight: Of the divergence from the partner; 1 there, and 3 for fine-grained images of birds.
        temperature: Softens both; its square is in the loss.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "cs_kd"
    teacher_free: ClassVar[bool] = True
    weight: float = 1.0
    temperature: float = 4.0
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "CSKD":
        """Make the module."""
        return CSKD(self)


class CSKD(Method):
    """Class-wise self-distillation.

    Batches hold pairs of a class, as many classes as pairs; where the data has fewer classes than that, more images of
    each (``--images-per-class 8`` for batches of 64 and ten classes).

    Args:
        config: Its settings.
    """

    def __init__(self, config: CSKDConfig) -> None:
        super().__init__(Needs(teacher=False, compares_samples=True, images_per_class=2))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``partner``; a sample that is alone in its class adds zero to the mean."""
        partners = student.logits[_partners(batch.labels)]
        loss = losses.cs_kd(student.logits, partners, temperature=self.config.temperature)
        return {"partner": Term(loss.mean(), self.config.weight)}


# n: samples.
def _partners(labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """For each sample the next of its class in the batch, after the last the first: its own place if it is alone.

    Example:
        >>> _partners(torch.tensor([7, 3, 7, 5, 3, 7])).tolist()
        [2, 4, 5, 3, 1, 0]
    """
    order = labels.argsort(stable=True)  # class by class, each in the order of the batch
    places, classes = torch.arange(len(labels), device=labels.device), labels[order]
    begins = torch.ones_like(classes, dtype=torch.bool)
    begins[1:] = classes[1:] != classes[:-1]
    first = torch.where(begins, places, 0).cummax(0).values
    following = torch.where(begins.roll(-1), first, places + 1)
    return torch.empty_like(order).scatter_(0, order, order[following])
