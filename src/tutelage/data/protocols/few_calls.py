"""Few teacher calls: a small subset of the images may be sent to the teacher, each of them once.

Letters: m training images, s in the subset.
Source: Wilf, Xu, Liang, Obolenskiy, Fried, Morency. Comparative Knowledge Distillation. WACV 2025.
https://arxiv.org/abs/2311.02253. Code: https://github.com/alextxu/ckd/blob/f8cc6bd/dataset/cifar100.py
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.data.protocols.base import Division, check_share
from tutelage.errors import ConfigError

__all__ = ["FewTeacherCalls"]

_SUBSET_STREAM = 0x737562736574


@dataclass(frozen=True, kw_only=True)
class FewTeacherCalls:
    r"""A uniform random subset, a share of it held out; the teacher may be asked once for each of the others.

    .. math:: \text{calls} = s - \mathrm{round}(\text{validation} \cdot s)

    which is 0.8 s by default. The subset is drawn by the seed of the run and without regard to the classes, as the
    authors do.

    Subsets of one seed are nested: all images stand in one random order, the first s are the subset, and the place
    of an image alone says whether it is held out. So what trains in a smaller subset trains in every larger one, and
    the answers bought for the smaller serve the larger: a curve over subset sizes costs the calls of its largest.

    Args:
        subset_size: s; the paper has 2000, 2500, 3000, 3500, 4000, 4500, 5000 and 6000 of CIFAR-100's 50,000.
        validation: Share of the subset held out to choose the best epoch; 0.2 in the authors' code.
        unused: What becomes of the images outside the subset: ``"ignore"`` as the authors do, or ``"labels"``: they
            train too, on their labels alone.

    Raises:
        ConfigError: if the subset has fewer than 2 images, the share is not between 0 and 1 or leaves one side
            empty, or ``unused`` is unknown.

    Example:
        >>> FewTeacherCalls(subset_size=2000).calls
        1600
        >>> division = FewTeacherCalls(subset_size=20).divide(torch.zeros(100, dtype=torch.int64), seed=1)
        >>> len(division.train), len(division.validation), len(division.answered)
        (16, 4, 16)
    """

    name: ClassVar[str] = "few-teacher-calls"
    one_answer: ClassVar[bool] = True

    subset_size: int = 2000
    validation: float = 0.2
    unused: Literal["ignore", "labels"] = "ignore"

    def __post_init__(self) -> None:
        check_share(self.validation)
        if self.subset_size < 2:
            raise ConfigError(
                f"subset_size must be at least 2, one image to train on and one to hold out, got {self.subset_size}"
            )
        held_out = round(self.validation * self.subset_size)
        if not 0 < held_out < self.subset_size:
            raise ConfigError(
                f"a share of {self.validation} holds out {held_out} of {self.subset_size} images: some must be held "
                "out and some must train, so change validation or use a larger subset_size"
            )
        if self.unused not in ("ignore", "labels"):
            raise ConfigError(f"unused must be 'ignore' or 'labels', got {self.unused!r}")

    @property
    def calls(self) -> int:
        """How many images are sent."""
        return self.subset_size - round(self.validation * self.subset_size)

    def divide(self, labels: Int64[Tensor, " m"], *, seed: int) -> Division:
        """Draw the subset and hold out its share.

        Args:
            labels: ``(m,)`` class of every training image; only their number counts.
            seed: That of the run: which subset.

        Returns:
            The rows by their use; ``answered`` has as many as calls may be made.

        Raises:
            ConfigError: if there are fewer images than the subset is to have.
        """
        if self.subset_size > len(labels):
            raise ConfigError(
                f"a subset of {self.subset_size} images is larger than the data ({len(labels)} training images): "
                f"use a subset_size of at most {len(labels)}"
            )
        order = uniform_bits(seed, _SUBSET_STREAM, torch.arange(len(labels))).argsort(stable=True)
        subset = order[: self.subset_size]
        # Place i is held out where the rounded share of the first i + 1 grows: the first s hold out round(share · s).
        shares = (torch.arange(self.subset_size + 1).double() * self.validation).round()
        held_out = shares.diff() > 0
        answered, validation = subset[~held_out].sort().values, subset[held_out].sort().values
        train = answered
        if self.unused == "labels":
            trains = torch.ones(len(labels), dtype=torch.bool)
            trains[validation] = False
            train = trains.nonzero().flatten()
        return Division(train=train, validation=validation, answered=answered)
