"""Lists of class names in files: the order of classes, the names of a teacher's, and maps between two spellings."""

import csv
import json
import re
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, LabelSpaceError
from tutelage.labels import LabelSpace, listed

__all__ = ["choose_classes", "read_classes", "read_names"]

_FILE = re.compile(
    r"(?P<file>.+\.(?:json|csv|txt))(?::(?P<key>[^:]+))?(?::(?P<start>\d+):(?P<stop>\d+))?", re.IGNORECASE
)


_RANGE = re.compile(r"(?P<start>\d+):(?P<stop>\d+)")


def choose_classes(text: str, labels: LabelSpace) -> LabelSpace:
    """The classes of a data set that a word names, in the order in which it names them.

    Args:
        text: Positions in the data set's own order (``0:50``), names joined by commas (``fox,owl``), or a file of
            names as for :func:`read_classes` (``order.json:train``, ``order.json:20:70``).
        labels: All classes of the data set.

    Raises:
        LabelSpaceError: if it names fewer than two classes, one twice, or one that the data set lacks.
        DataError: if the file cannot be read.

    Example:
        >>> choose_classes("1:3", LabelSpace(("fox", "owl", "cat"))).names
        ('owl', 'cat')
        >>> choose_classes("cat,fox", LabelSpace(("fox", "owl", "cat"))).names
        ('cat', 'fox')
    """
    if found := _RANGE.fullmatch(text):
        names = _cut(labels.names, int(found["start"]), int(found["stop"]), "the data")
    elif _FILE.fullmatch(text):
        names = read_names(text)
    else:
        names = tuple(name.strip() for name in text.split(","))
    chosen = LabelSpace(names)
    if missing := [name for name in names if name not in labels.names]:
        near = [f"{mine!r} is {theirs!r} there" for mine, theirs in chosen.near_misses(labels)[:3]]
        raise LabelSpaceError(
            f"{len(missing)} of the {len(names)} classes that were asked for are not in the data: {listed(missing)}; "
            + (f"{', '.join(near)}, perhaps" if near else f"its {len(labels)} classes are {listed(labels.names)}")
        )
    return chosen


def read_names(text: str) -> tuple[str, ...]:
    """:func:`read_classes` of a file that must hold a list.

    Raises:
        LabelSpaceError: as there, or if the file holds a map.
        DataError: if the file cannot be read.
    """
    names = read_classes(text)
    if isinstance(names, dict):
        raise LabelSpaceError(f"a list of class names is wanted, and {text} holds a map of names: give it as a list")
    return names


def read_classes(text: str) -> tuple[str, ...] | dict[str, str]:
    """Read ``FILE[:KEY][:START:STOP]``: a list of class names, or a map from names to other names.

    A JSON file holds a list, an object of lists (``KEY`` or ``KEY+KEY`` chooses; without, all of them in their order),
    or an object of names, which is a map. A CSV file has one column, a list, or two, a map (a first line
    ``teacher,student`` is its heading). A text file has one name a line.

    Args:
        text: What to read. START and STOP are positions, the first from 0 on and the last left out.

    Raises:
        DataError: if the file is missing or cannot be read.
        LabelSpaceError: if it holds no names, its key is unknown, or there are fewer names than positions.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "order.json"
        ...     _ = file.write_text('{"train": ["fox", "owl"], "test": ["cat", "dog"]}')
        ...     read_classes(f"{file}:test"), read_classes(f"{file}:1:3")
        (('cat', 'dog'), ('owl', 'cat'))
    """
    found = _FILE.fullmatch(text)
    if found is None:
        raise LabelSpaceError(f"classes are read from a .json, .csv or .txt file, got {text!r}: give it that ending")
    path = Path(found["file"]).expanduser()
    try:
        names = _parsed(path.read_text(encoding="utf-8-sig"), found["key"], path)
    except OSError as error:
        raise DataError(f"cannot read the class list {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise DataError(f"the class list {path} is damaged: {error}") from error
    if found["start"] is None:
        return names
    return _cut(names, int(found["start"]), int(found["stop"]), str(path))


def _parsed(content: str, key: str | None, path: Path) -> tuple[str, ...] | dict[str, str]:
    if path.suffix.lower() == ".json":
        return _in_json(json.loads(content), key, path)
    if key:
        raise LabelSpaceError(f"{path} has one list only: leave out the key {key!r}")
    if path.suffix.lower() == ".csv":
        return _in_csv(content, path)
    return tuple(line.strip() for line in content.splitlines() if line.strip())


def _cut(names: tuple[str, ...] | dict[str, str], start: int, stop: int, where: str) -> tuple[str, ...]:
    if isinstance(names, dict):
        raise LabelSpaceError(f"{where} is a class map, which has no positions: leave out {start}:{stop}")
    if not start < stop <= len(names):
        raise LabelSpaceError(f"the positions {start}:{stop} are not among the {len(names)} classes of {where}")
    return names[start:stop]


def _in_json(content: Any, key: str | None, path: Path) -> tuple[str, ...] | dict[str, str]:
    if isinstance(content, dict) and not key and content and all(isinstance(v, str) for v in content.values()):
        return dict(content)
    lists = {"": content} if isinstance(content, list) else {}
    if isinstance(content, dict):
        lists = {name: value for name, value in content.items() if isinstance(value, list)}
    wanted = key.split("+") if key else list(lists)
    if unknown := [name for name in wanted if name not in lists]:
        keys = ", ".join(filter(None, lists)) or "none"
        raise LabelSpaceError(f"{path} has no list of classes {unknown[0]!r}; its lists are: {keys}")
    names = [name for part in wanted for name in lists[part]]
    if not names or not all(isinstance(name, str) for name in names):
        raise LabelSpaceError(f"{path} must hold lists of class names, or an object from name to name")
    return tuple(names)


def _in_csv(content: str, path: Path) -> tuple[str, ...] | dict[str, str]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines()) if any(map(str.strip, row))]
    widths = {len(row) for row in rows}
    if widths == {1}:
        return tuple(row[0] for row in rows)
    if widths != {2}:
        raise LabelSpaceError(
            f"{path} must have one column of names, or two (teacher,student); it has {sorted(widths)}"
        )
    pairs = rows[1:] if [cell.lower() for cell in rows[0]] == ["teacher", "student"] else rows
    if twice := {first for first, _ in pairs if sum(first == other for other, _ in pairs) > 1}:
        raise LabelSpaceError(f"{path} maps these classes more than once: {listed(sorted(twice))}")
    return dict(pairs)
