"""The bank: one row for every sample of a data set, by its id.

Letters: n samples, d features, c classes.
"""

from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError, InputError
from tutelage.memory.rows import Rows
from tutelage.memory.table import Table
from tutelage.ops.units import unit_rows

__all__ = ["Bank"]


class Bank(Table):
    r"""Features of length one, logits, labels and the step of the last write of every sample, by id.

    A write moves the row of the sample by

    .. math:: f \leftarrow \frac{m f + (1 - m)\, \hat f}{\|\cdot\|}, \qquad z \leftarrow m z + (1 - m)\, z_\text{new}

    and the first write sets it. Everything is in the ``state_dict``; nothing is random, and no row is dropped. Ranks
    that see the same (gathered) batches hold the same bank, bit for bit.

    Args:
        num_samples: Size of the data set; ids go from 0 to one less.
        features: Width d of the features.
        classes: Width c of the logits; ``None`` keeps none.
        dtype: Of features and logits, float32 or float16.
        momentum: m, in [0, 1).
        path: Folder of a disk to hold the rows instead of memory, see :class:`~tutelage.memory.table.Table`.

    Raises:
        ConfigError: if a size is below one, the type another or the momentum not in [0, 1).

    Example:
        >>> bank = Bank(3, features=2, classes=2)
        >>> bank.update(torch.tensor([2]), torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]]), step=7)
        >>> held = bank.read(torch.tensor([2, 0]))
        >>> held.features, held.written_at
        (tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]]), tensor([ 7, -1]))
    """

    def __init__(
        self,
        num_samples: int,
        *,
        features: int,
        classes: int | None = None,
        dtype: torch.dtype = torch.float32,
        momentum: float = 0.0,
        path: Path | str | None = None,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum must be in [0, 1), got {momentum}: at 1 a row would never move")
        super().__init__(num_samples, features, classes, dtype, path)
        self.momentum = momentum

    def update(
        self,
        ids: Int64[Tensor, " n"],
        features: Float[Tensor, "n d"],
        logits: Float[Tensor, "n c"] | None = None,
        labels: Int64[Tensor, " n"] | None = None,
        *,
        step: int = 0,
    ) -> None:
        """Write the rows of a batch; of a sample that is in it more than once, the last.

        Args:
            ids: Whose rows.
            features: Of any length; no gradient is kept.
            logits: Left as they are where ``None``; zeros as long as none came.
            labels: Left as they are where ``None``.
            step: What ``written_at`` shall say, at least 0.

        Raises:
            ShapeError: if the batch does not fit the bank.
            InputError: if (on the CPU) an id is not in the bank.
        """
        ids, features, logits, labels = self._checked(ids, features, logits, labels, step=step)
        self._check_ids(ids, lowest=0)
        if len(ids) == 0:
            return
        with torch.no_grad():
            last = _last_of_each(ids)
            first = (self.written_at[ids] < 0).unsqueeze(1)
            fresh = unit_rows(features)[last]
            if self.momentum:
                fresh = unit_rows(self._moved(self.features[ids], fresh, first))
            self.features[ids] = fresh.to(self.features.dtype)
            if logits is not None and self.logits is not None:
                self.logits[ids] = self._moved(self.logits[ids], logits[last], first).to(self.logits.dtype)
            if labels is not None:
                self.labels[ids] = labels[last]
            self.written_at[ids] = step

    def _moved(self, old: Tensor, new: Tensor, first: Tensor) -> Tensor:
        if self.momentum == 0:
            return new
        return torch.where(first, new, self.momentum * old.float() + (1 - self.momentum) * new)

    def places(self, ids: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
        """The ids themselves.

        Raises:
            InputError: if (on the CPU) an id is below −1 or beyond the bank.
        """
        self._check_ids(ids, lowest=-1)
        return ids

    def rows(self) -> Rows:
        """All rows for a search, in the order of the ids, without a copy of the features.

        Example:
            >>> bank = Bank(3, features=2)
            >>> bank.update(torch.tensor([1]), torch.ones(1, 2))
            >>> bank.rows().ids
            tensor([-1,  1, -1])
        """
        numbers = torch.arange(len(self.labels), device=self.labels.device)
        return Rows(torch.where(self.written_at >= 0, numbers, -1), self.features, self.labels)

    def _check_ids(self, ids: Tensor, *, lowest: int) -> None:
        # An accelerator would have to wait for the answer; it raises by itself when the row is looked up.
        if ids.device.type != "cpu" or ids.numel() == 0:
            return
        low, high = int(ids.min()), int(ids.max())
        if low < lowest or high >= len(self.labels):
            raise InputError(
                f"the bank holds samples 0 to {len(self.labels) - 1}, got ids from {low} to {high}: make it as large "
                "as the data set, and give the ids of the data set"
            )


def _last_of_each(ids: Tensor) -> Tensor:
    """For each entry, where the same id stands last: all writes of one row then write the same.

    By sorting, because `unique` would make the host wait for its size.
    """
    ordered, order = ids.sort(stable=True)
    return order[torch.searchsorted(ordered, ids, right=True) - 1]
