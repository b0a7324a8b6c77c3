"""The storage that bank and ring share: features, logits, labels and the step of the last write, saved whole.

Its tensors are no buffers. A buffer is cast with the module (``.half()``), and broadcast to every rank at every
step, 36 MB for 50,000 rows of 256 features and 100 logits in float16; these are extra state.

Letters: n samples, d features, c classes.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from tutelage.errors import ConfigError, DataError, ShapeError
from tutelage.memory.rows import Entries, Rows, check_rows
from tutelage.ops.precision import upcast
from tutelage.rundir import write_error

__all__ = ["Table"]


class Table(nn.Module, ABC):
    """Rows of features, logits, labels and steps, read by sample id.

    Args:
        size: Number of rows.
        features: Width d of the features.
        classes: Width c of the logits; ``None`` keeps none.
        dtype: Of features and logits, float32 or float16 (half the memory; a cosine is off by less than 1e-3).
        path: Folder of a disk to hold features and logits instead of memory. The files have no name there and
            vanish with the process: what lasts is the ``state_dict``. Such a table stays on the CPU.
    """

    def __init__(
        self, size: int, features: int, classes: int | None, dtype: torch.dtype, path: Path | str | None
    ) -> None:
        super().__init__()
        if size < 1 or features < 1 or (classes is not None and classes < 1):
            raise ConfigError(
                f"a memory needs at least one row, one feature and one class, got {size}, {features} and {classes}: "
                "classes=None keeps no logits"
            )
        if dtype not in (torch.float32, torch.float16):
            raise ConfigError(f"a memory is kept in torch.float32 or torch.float16, got {dtype}")
        self.mapped = path is not None
        self.features = _storage((size, features), dtype, path)
        self.logits = None if classes is None else _storage((size, classes), dtype, path)
        self.labels = torch.full((size,), -1)
        self.written_at = torch.full((size,), -1)

    @abstractmethod
    def places(self, ids: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
        """The row of each sample; −1 where it has none."""

    @abstractmethod
    def rows(self) -> Rows:
        """All rows for a search, without a copy of the features; those that hold no sample have id −1."""

    def read(self, ids: Int64[Tensor, "..."]) -> Entries:
        """What is held of some samples, on their device; −1 stands for no sample, as in lists of neighbours.

        Args:
            ids: Any shape, such as ``(n, k)`` for the neighbours of a batch.

        Returns:
            Entries of that shape; zeros and −1 for samples that are not held.
        """
        places = self.places(ids.to(self.labels.device))
        at = places.clamp(min=0)
        held = (places >= 0) & (self.written_at[at] >= 0)
        found = [
            None if part is None else part[at].masked_fill_(~held.reshape(*held.shape, *[1] * (part.dim() - 1)), fill)
            for part, fill in ((self.features, 0), (self.logits, 0), (self.labels, -1), (self.written_at, -1))
        ]
        return Entries(*(None if part is None else part.to(ids.device) for part in found))  # type: ignore[arg-type]

    def _checked(
        self, ids: Tensor, features: Tensor, logits: Tensor | None, labels: Tensor | None, *, step: int
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """A batch that fits, on the device of the table, in at least float32, without gradient."""
        if step < 0:
            raise ConfigError(f"step must be at least 0, got {step}: −1 says that a row was never written")
        check_rows(features, width=self.features.shape[1], ids=ids, labels=labels)
        if logits is not None and self.logits is None:
            raise ShapeError(f"this memory keeps no logits, got {tuple(logits.shape)}: make it with classes=…")
        if logits is not None and self.logits is not None and logits.shape != (len(ids), self.logits.shape[1]):
            raise ShapeError(
                f"logits must be ({len(ids)}, {self.logits.shape[1]}), got {tuple(logits.shape)}: give those of the "
                "same batch, from a network of as many classes as the memory was made for"
            )
        device = self.labels.device
        logits = None if logits is None else upcast(logits.detach()).to(device)
        return (
            ids.to(device),
            upcast(features.detach()).to(device),
            logits,
            None if labels is None else labels.to(device),
        )

    def _state(self) -> dict[str, Tensor]:
        state = {"features": self.features, "labels": self.labels, "written_at": self.written_at}
        return state if self.logits is None else state | {"logits": self.logits}

    def get_extra_state(self) -> dict[str, Tensor]:
        """All that is remembered."""
        return self._state()

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore it.

        Raises:
            DataError: if the saved memory has other sizes or types.
        """
        own = self._state()
        wanted, came = ({name: (tuple(x.shape), x.dtype) for name, x in part.items()} for part in (own, state))
        if wanted != came:
            odd = sorted(name for name in wanted.keys() | came.keys() if wanted.get(name) != came.get(name))
            raise DataError(
                f"the saved memory does not fit: {odd[0]} must be {wanted.get(odd[0], 'absent')}, got "
                f"{came.get(odd[0], 'nothing')}: make it with the settings it was saved with"
            )
        for name, x in own.items():
            x.copy_(state[name])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follows the module to another device, but not to another type."""
        if not self.mapped:
            device = fn(self.labels.new_empty(0)).device
            self.features, self.labels, self.written_at = (
                x.to(device) for x in (self.features, self.labels, self.written_at)
            )
            self.logits = None if self.logits is None else self.logits.to(device)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


def _storage(shape: tuple[int, int], dtype: torch.dtype, folder: Path | str | None) -> Tensor:
    """Zeros, in memory or on a disk."""
    if folder is None:
        return torch.zeros(shape, dtype=dtype)
    numbers = shape[0] * shape[1]
    path = Path(folder) / f"memory.{os.getpid()}.{id(object())}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            if hasattr(os, "posix_fallocate"):  # a hole of a sparse file that cannot be filled kills the process
                os.posix_fallocate(file.fileno(), 0, numbers * dtype.itemsize)
            else:
                file.truncate(numbers * dtype.itemsize)
        return torch.from_file(str(path), shared=True, size=numbers, dtype=dtype).view(shape)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        path.unlink(missing_ok=True)
