"""Tables of encoded images with labels: what every source gives and `decode` reads.

Letters: n images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.data.splits import stratified_split
from tutelage.errors import DataError

__all__ = ["Encoded", "Labelled", "Table", "number_classes", "require_columns", "split_off_test"]

Encoded = tuple[str, bytes | Path]
"""What to call an image in a message, and its file or its bytes."""

_SPLIT_SEED = 0
"""Seed of the splits of data sets that have no test split: fixed, so that everyone has the same."""


@dataclass(frozen=True)
class Table:
    """Encoded images with their labels; the number of the row is the permanent id.

    Args:
        labels: ``(n,)`` int64.
        rows: Gives the encoded images in order; can be called again.
    """

    labels: np.ndarray[Any, np.dtype[np.int64]]
    rows: Callable[[], Iterator[Encoded]]

    def subset(self, ids: np.ndarray[Any, np.dtype[np.int64]]) -> "Table":
        """The rows ``ids``, which are in ascending order."""
        chosen = np.zeros(len(self.labels), bool)
        chosen[ids] = True
        return Table(self.labels[ids], lambda: compress(self.rows(), chosen))


@dataclass(frozen=True)
class Labelled:
    """A split as its source has it, before classes are numbered.

    Args:
        rows: Gives the encoded images in order; can be called again.
        labels: Numbers or names of the classes, as they stand there: `number_classes` checks them.
        names: Names of the classes by number, where the source knows them.
    """

    rows: Callable[[], Iterator[Encoded]]
    labels: Sequence[Any]
    names: tuple[str, ...] | None


def require_columns(present: Sequence[str], wanted: Iterable[str], where: str) -> None:
    """Refuse a table without a column.

    Raises:
        DataError: with the names of the columns that are there.
    """
    for column in wanted:
        if column not in present:
            raise DataError(f"{where} has no column {column!r}; its columns are {', '.join(present)}")


def number_classes(splits: Sequence[Labelled], where: str) -> tuple[list[Table], tuple[str, ...]]:
    """Number the classes of all splits alike.

    Classes are in the order of the source's names, else in the order of their numbers or alphabetical.

    Args:
        splits: The splits of one data set; at least one sample in all.
        where: What to call the data set in a message.

    Returns:
        One table a split, and the names of the classes.

    Raises:
        DataError: if there are fewer than two classes, labels outside the names, or labels that are neither whole
            numbers nor text.
    """
    values = {label for split in splits for label in split.labels}
    if not all(isinstance(value, int) for value in values) and not all(isinstance(v, str) for v in values):
        raise DataError(f"labels must be whole numbers or text, those of {where} are not: {list(values)[:3]}")
    names = splits[0].names
    if all(isinstance(value, str) for value in values):
        ordered = sorted(values, key=str)
        numbers: dict[int | str, int] = {value: number for number, value in enumerate(ordered)}
        names = tuple(map(str, ordered))
    else:
        count = len(names) if names else 1 + max(map(int, values))
        names = names or tuple(map(str, range(count)))
        numbers = {number: number for number in range(count)}
    if outside := [value for value in values if value not in numbers]:
        raise DataError(f"{where} has labels outside its {len(names)} classes: {outside[:5]}")
    if len(names) < 2:
        raise DataError(f"at least two classes are needed, {where} has one: {names[0]!r}")
    tables = [Table(np.array([numbers[label] for label in split.labels], np.int64), split.rows) for split in splits]
    return tables, names


def split_off_test(table: Table, fraction: float, where: str) -> tuple[Table, Table]:
    """Training and test part of a data set that has one split, stratified by class with a fixed seed.

    Args:
        table: All images.
        fraction: Share of each class to hold out.
        where: What to call the data set in a message.

    Raises:
        DataError: if that holds out no image.
    """
    kept, held_out = stratified_split(torch.from_numpy(table.labels), fraction=fraction, seed=_SPLIT_SEED)
    if not len(held_out):
        raise DataError(
            f"the {len(kept)} images of {where} are too few to hold out a test split of {fraction:.0%}: "
            f"add images, or give it a test split of its own"
        )
    return table.subset(kept.numpy()), table.subset(held_out.numpy())
