"""Two halves of a student's channels: one inherits, the other explores."""

from typing import Literal

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.checks import check_non_negative

__all__ = ["Split", "check_halves"]


def check_halves(*, ratio: float, split: str, distance: str) -> None:
    """Refuse settings of the halves that mean nothing.

    Raises:
        ConfigError: names the setting, and what it may be.

    Example:
        >>> check_halves(ratio=0.5, split="natural", distance="l1")
    """
    check_non_negative(ratio=ratio)
    if ratio > 1:
        raise ConfigError(f"ratio must be a share of the channels, at most 1, got {ratio}")
    for name, value, known in (
        ("split", split, ("natural", "random")),
        ("distance", distance, ("l1", "l2", "cosine")),
    ):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")


class Split(nn.Module):
    """Which channels inherit and which explore: buffers, so that a resumed run has the same.

    Args:
        channels: Of the student's feature.
        ratio: Share that inherits, rounded down; at a ratio between 0 and 1 each half has at least one channel.
        order: The first channels inherit (``natural``), or a random choice of them.
        seed: Of the choice.

    Raises:
        ShapeError: if there are too few channels for two halves.

    Example:
        >>> split = Split(5, ratio=0.5, order="natural")
        >>> [tuple(half.shape) for half in split(torch.zeros(2, 5, 4, 4))]
        [(2, 2, 4, 4), (2, 3, 4, 4)]
    """

    inheriting: Tensor
    exploring: Tensor

    def __init__(self, channels: int, *, ratio: float, order: Literal["natural", "random"], seed: int = 0) -> None:
        super().__init__()
        count = int(channels * ratio + 1e-9)  # 0.29 · 100 is 28.999999999999996
        if 0 < ratio < 1:
            if channels < 2:
                raise ShapeError(f"a feature of {channels} channel has no halves: set ratio to 0 or 1, or tap another")
            count = min(max(count, 1), channels - 1)
        index = torch.arange(channels)
        if order == "random":
            index = torch.randperm(channels, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("inheriting", index[:count].clone())
        self.register_buffer("exploring", index[count:].clone())

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The inheriting and the exploring half of ``(n, c, …)``, channels first."""
        return feature.index_select(1, self.inheriting), feature.index_select(1, self.exploring)
