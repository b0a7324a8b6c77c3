"""Two halves of a student's channels: one inherits, the other explores."""

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError, ShapeError
from tutelage.methods.adapters.places import channels_first, channels_of, same_places
from tutelage.methods.adapters.stages import last_feature, shape_of
from tutelage.ops.checks import check_non_negative
from tutelage.ops.similarity import linear_cka
from tutelage.types import Shapes

__all__ = ["Halved", "Split", "check_halves", "halves_of", "similarities"]


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


@runtime_checkable
class Halved(Protocol):
    """The config of a method that splits the student's channels."""

    @property
    def role(self) -> str | None:
        """The feature; None: the last stage that both networks have, or the embedding."""

    @property
    def ratio(self) -> float:
        """Share of the channels that inherits."""

    @property
    def split(self) -> Literal["natural", "random"]:
        """The first channels inherit, or a random choice of them."""

    @property
    def split_seed(self) -> int:
        """Of that choice."""


def halves_of(config: Halved, student: Shapes, teacher: Shapes) -> tuple[str, Split]:
    """The feature that a method splits, and its halves: found again by whoever looks at a student that is finished.

    Args:
        config: Of the method.
        student: Shapes of the student's outputs.
        teacher: Shapes of the outputs of whom it learns from.

    Raises:
        UnknownNameError: if the student has no such feature; names the nearest.
        ShapeError: if there are too few channels for two halves.

    Example:
        >>> from tutelage.methods import IEKDConfig
        >>> shapes = {"stage1": (4, 8, 8), "stage2": (6, 4, 4)}
        >>> role, split = halves_of(IEKDConfig(), shapes, shapes)
        >>> role, split.inheriting.tolist(), split.exploring.tolist()
        ('stage2', [0, 1, 2], [3, 4, 5])
    """
    role = config.role or last_feature(student, teacher)
    channels = channels_of(shape_of("student", role, student))
    return role, Split(channels, ratio=config.ratio, order=config.split, seed=config.split_seed)


def similarities(split: Split, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """Linear CKA of each half with the whole feature of the teacher, every place of a map a number of its own.

    Args:
        split: The halves.
        student: The feature, ``(n, c, h, w)``, ``(n, t, c)`` or ``(n, c)``.
        teacher: That of the teacher, of the same samples and kind; the larger of two maps is pooled.

    Returns:
        ``cka_inheritance`` and ``cka_exploration`` without bias, scalars; a half without channels has none.

    Raises:
        ShapeError: if there are fewer than 4 samples.

    Example:
        The teacher says what the first half says, and nothing of the second (without bias, that is 0 on average):

        >>> ours = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
        >>> found = similarities(Split(2, ratio=0.5, order="natural"), ours, 2 * ours[:, :1])
        >>> {name: round(value.item(), 3) for name, value in found.items()}
        {'cka_inheritance': 1.0, 'cka_exploration': -0.075}
    """
    ours, theirs = same_places(channels_first(student), channels_first(teacher))
    halves = zip(("cka_inheritance", "cka_exploration"), split(ours), strict=True)
    return {name: linear_cka(half.flatten(1), theirs.flatten(1)) for name, half in halves if half.shape[1]}
