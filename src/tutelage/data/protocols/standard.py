"""The usual protocol: a share of every class is held out, the teacher may see the rest as often as it likes.

Letters: m training images.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from tutelage.data.protocols.base import Division, check_share
from tutelage.data.splits import stratified_split
from tutelage.errors import ConfigError

__all__ = ["Standard"]


@dataclass(frozen=True, kw_only=True)
class Standard:
    """All images but a stratified share; every one in any view may be sent to the teacher.

    The held-out images are the same for every seed of a run: seeds then differ by training alone and can be paired.

    Args:
        validation: Share of the training images held out to choose the best epoch.
        train_size: Train on about so many of the others, as many of each class; by default on all.

    Raises:
        ConfigError: if the share is not between 0 and 1, or the size is not positive.

    Example:
        >>> import torch
        >>> division = Standard(validation=0.2).divide(torch.arange(20) % 2, seed=7)
        >>> len(division.train), len(division.validation), len(division.answered)
        (16, 4, 16)
    """

    name: ClassVar[str] = "standard"
    one_answer: ClassVar[bool] = False

    validation: float = 0.1
    train_size: int | None = None

    def __post_init__(self) -> None:
        check_share(self.validation)
        if self.train_size is not None and self.train_size < 1:
            raise ConfigError(f"train_size must be at least 1, got {self.train_size}")

    def divide(self, labels: Int64[Tensor, " m"], *, seed: int) -> Division:
        """The stratified split, whatever the seed.

        Args:
            labels: ``(m,)`` class of every training image.
            seed: Not used.

        Returns:
            The rows by their use.

        Raises:
            ConfigError: if the share holds out no image, or fewer are left than are to train.
        """
        train, held_out = stratified_split(labels, fraction=self.validation, seed=0)
        if len(held_out) == 0:
            raise ConfigError(
                f"a share of {self.validation} holds out none of the {len(labels)} training images, and the best epoch "
                "is chosen on those: raise it, and have more than one image a class"
            )
        if self.train_size is not None and self.train_size != len(train):
            if self.train_size > len(train):
                raise ConfigError(
                    f"train_size is {self.train_size:,}, and {len(train):,} of the {len(labels):,} training images are "
                    "not held out: lower it"
                )
            kept, _ = stratified_split(labels[train], fraction=1 - self.train_size / len(train), seed=0)
            train = train[kept]
        return Division(train=train, validation=held_out, answered=train)
