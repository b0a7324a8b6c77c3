"""The ring: the newest rows of a stream.

Letters: n samples, d features, c classes.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import InputError
from tutelage.memory.rows import Rows
from tutelage.memory.table import Table
from tutelage.ops.units import unit_rows

__all__ = ["Ring"]


class Ring(Table):
    """The last ``capacity`` rows that were written; the newest overwrites the oldest.

    A sample that comes again takes a new row, and its newest row is the one that is read and searched. The place
    of the next write is in the ``state_dict``, and a batch that passes the end goes on at the beginning: no row is
    dropped.

    Args:
        capacity: Number of rows.
        features: Width d of the features.
        classes: Width c of the logits; ``None`` keeps none.
        dtype: Of features and logits, float32 or float16.
        path: Folder of a disk to hold the rows instead of memory, see :class:`~tutelage.memory.table.Table`.

    Raises:
        ConfigError: if a size is below one or the type another.

    Example:
        >>> ring = Ring(2, features=1)
        >>> for id in (5, 6, 7):
        ...     ring.update(torch.tensor([id]), torch.ones(1, 1), step=id)
        >>> ring.read(torch.tensor([5, 6, 7])).written_at
        tensor([-1,  6,  7])
    """

    def __init__(
        self,
        capacity: int,
        *,
        features: int,
        classes: int | None = None,
        dtype: torch.dtype = torch.float32,
        path: Path | str | None = None,
    ) -> None:
        super().__init__(capacity, features, classes, dtype, path)
        self.ids = torch.full((capacity,), -1)
        self.position = 0

    def update(
        self,
        ids: Int64[Tensor, " n"],
        features: Float[Tensor, "n d"],
        logits: Float[Tensor, "n c"] | None = None,
        labels: Int64[Tensor, " n"] | None = None,
        *,
        step: int = 0,
    ) -> None:
        """Write the rows of a batch in its order; of one larger than the ring, the last.

        Args:
            ids: Whose rows, at least 0.
            features: Of any length; no gradient is kept.
            logits: Zeros where ``None``.
            labels: −1, not known, where ``None``.
            step: What ``written_at`` shall say, at least 0.

        Raises:
            ShapeError: if the batch does not fit the ring.
            InputError: if (on the CPU) an id is negative.
        """
        ids, features, logits, labels = self._checked(ids, features, logits, labels, step=step)
        if ids.device.type == "cpu" and bool((ids < 0).any()):
            raise InputError(f"ids must be at least 0, got {int(ids.min())}: −1 stands for no sample")
        capacity, came = len(self.labels), len(ids)
        kept = slice(max(0, came - capacity), came)
        at = (self.position + torch.arange(kept.start, kept.stop, device=self.labels.device)) % capacity
        with torch.no_grad():
            self.features[at] = unit_rows(features[kept]).to(self.features.dtype)
            if self.logits is not None:
                self.logits[at] = 0 if logits is None else logits[kept].to(self.logits.dtype)
            self.labels[at] = -1 if labels is None else labels[kept]
            self.ids[at] = ids[kept]
            self.written_at[at] = step
        self.position = (self.position + came) % capacity

    def places(self, ids: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
        """The newest row of each sample; −1 where it has none, or none any more."""
        by_age = self._by_age()
        ordered, order = self.ids[by_age].sort(stable=True)
        at = torch.searchsorted(ordered, ids.contiguous(), right=True) - 1  # the last of equals: the newest
        held = (at >= 0) & (ids >= 0)
        at = at.clamp(min=0)
        return torch.where(held & (ordered[at] == ids), by_age[order[at]], -1)

    def rows(self) -> Rows:
        """All rows for a search, without a copy of the features; older rows of a sample count as empty.

        Example:
            >>> ring = Ring(3, features=1)
            >>> ring.update(torch.tensor([4, 4]), torch.ones(2, 1))
            >>> ring.rows().ids
            tensor([-1,  4, -1])
        """
        numbers = torch.arange(len(self.ids), device=self.ids.device)
        return Rows(torch.where(self.places(self.ids) == numbers, self.ids, -1), self.features, self.labels)

    def _by_age(self) -> Tensor:
        """The rows, the oldest first."""
        return (self.position + torch.arange(len(self.ids), device=self.ids.device)) % len(self.ids)

    def _state(self) -> dict[str, Tensor]:
        position = torch.tensor(self.position)
        return super()._state() | {"ids": self.ids, "position": position}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore it.

        Raises:
            DataError: if the saved memory has other sizes or types.
        """
        super().set_extra_state(state)
        self.position = int(state["position"])

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        if not self.mapped:
            self.ids = self.ids.to(fn(self.ids.new_empty(0)).device)
        return super()._apply(fn, recurse)
