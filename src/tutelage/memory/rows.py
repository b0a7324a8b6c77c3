"""What a memory hands out, and what a search returns.

Letters: n rows, d features, c classes, k neighbours.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.precision import upcast
from tutelage.ops.units import unit_rows

__all__ = ["Entries", "Neighbours", "Rows", "check_rows"]


class Rows(NamedTuple):
    """What a search looks through, and what it is asked for.

    Attributes:
        ids: ``(n,)`` int64, no id twice; −1 where there is no row.
        features: ``(n, d)`` of length one (or zero, where a sample has no direction).
        labels: ``(n,)`` int64; −1 where the label is not known.
    """

    ids: Tensor
    features: Tensor
    labels: Tensor

    @classmethod
    def of(
        cls, features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], ids: Int64[Tensor, " n"] | None = None
    ) -> "Rows":
        """Rows of features that do not have length one yet; without ``ids`` they are numbered from 0.

        Raises:
            ShapeError: if features, labels and ids are not of the same rows.

        Example:
            >>> Rows.of(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([0, 1])).features
            tensor([[0.6000, 0.8000],
                    [0.0000, 1.0000]])
        """
        ids = torch.arange(len(features), device=features.device) if ids is None else ids
        check_rows(features, labels=labels, ids=ids)
        return cls(ids, unit_rows(upcast(features.detach())), labels)

    def pick(self, places: Int64[Tensor, " q"]) -> "Rows":
        """The rows at some places, as the queries of a sample.

        Example:
            >>> rows = Rows.of(torch.eye(3), torch.tensor([0, 1, 1]))
            >>> rows.pick(torch.tensor([2])).ids
            tensor([2])
        """
        return Rows(*(part[places] for part in self))


class Entries(NamedTuple):
    """What a memory holds of some samples; of a sample that it does not hold, zeros and −1.

    Attributes:
        features: ``(..., d)`` of length one.
        logits: ``(..., c)``, or ``None`` where the memory keeps none.
        labels: ``(...,)`` int64; −1 where the label is not known.
        written_at: ``(...,)`` int64 step of the last write; −1: never written, or not held any more.
    """

    features: Tensor
    logits: Tensor | None
    labels: Tensor
    written_at: Tensor

    @property
    def held(self) -> Bool[Tensor, "..."]:
        """Which of the samples the memory holds."""
        return self.written_at >= 0


class Neighbours(NamedTuple):
    """The in-context samples of some samples, nearest first; short lists end in −1, with similarity −∞.

    The softmax of similarities that end in −∞ gives the padding no weight; a list that is all padding must be
    masked, since its softmax is NaN.

    Attributes:
        same: ``(n, k)`` int64 ids of the nearest of the same class, never the sample itself.
        same_similarity: ``(n, k)`` float32 cosines.
        other: ``(n, k)`` int64 ids of the nearest of other classes.
        other_similarity: ``(n, k)`` float32 cosines.
    """

    same: Tensor
    same_similarity: Tensor
    other: Tensor
    other_similarity: Tensor

    @property
    def same_mask(self) -> Bool[Tensor, "n k"]:
        """Where ``same`` is not padding."""
        return self.same >= 0

    @property
    def other_mask(self) -> Bool[Tensor, "n k"]:
        """Where ``other`` is not padding."""
        return self.other >= 0

    @classmethod
    def none(cls, count: int, k_same: int, k_other: int, device: torch.device | str = "cpu") -> "Neighbours":
        """Lists of padding alone.

        Example:
            >>> Neighbours.none(1, 2, 0).same
            tensor([[-1, -1]])
        """
        lists = []
        for k in (k_same, k_other):
            lists.append(torch.full((count, k), -1, dtype=torch.int64, device=device))
            lists.append(torch.full((count, k), -torch.inf, dtype=torch.float32, device=device))
        return cls(*lists)


def check_rows(features: Tensor, *, width: int | None = None, **columns: Tensor | None) -> None:
    """Refuse features that are not one row a sample, and columns that are not one int64 a row.

    Args:
        features: ``(n, d)``.
        width: what d must be.
        columns: ``(n,)`` int64 each, under the names that the user knows; ``None`` is left out.

    Raises:
        ShapeError: saying what was wanted, what came and what to do.

    Example:
        >>> check_rows(torch.zeros(2, 3), width=3, labels=torch.tensor([0, 1]))
    """
    wanted = "(n, d)" if width is None else f"(n, {width})"
    if features.dim() != 2 or features.shape[1] == 0 or not features.is_floating_point():
        raise ShapeError(
            f"features must be one row of floating-point numbers a sample, {wanted}, got {tuple(features.shape)} "
            f"{features.dtype}: pool or flatten(1) them"
        )
    if width is not None and features.shape[1] != width:
        raise ShapeError(
            f"features must be {wanted}, got {tuple(features.shape)}: the memory was made for another network or layer"
        )
    for name, column in columns.items():
        if column is not None and (column.shape != features.shape[:1] or column.dtype != torch.int64):
            raise ShapeError(
                f"{name} must be one int64 a row, ({len(features)},), got {tuple(column.shape)} {column.dtype}: "
                f"give the {name} of the same batch"
            )
