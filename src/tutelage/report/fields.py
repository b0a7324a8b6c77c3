"""JSON files read field by field: a refusal names the file and the field."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import DataError

__all__ = ["Fields", "read_json", "read_lines"]


class Fields:
    """An object of a JSON file, whose fields are checked as they are read.

    Args:
        source: Where it stands, for the messages.
        content: The object.
        at: The path of the object in its file, empty or ending in a dot.

    Example:
        >>> fields = Fields("result.json", {"seed": 3, "accuracy": {"test": 0.5}})
        >>> fields.count("seed"), fields.child("accuracy").fraction("test")
        (3, 0.5)
        >>> fields.child("accuracy").fraction("validation")
        Traceback (most recent call last):
            ...
        tutelage.errors.DataError: result.json: expected a number between 0 and 1 at accuracy.validation, \
found nothing; the file is damaged or was not written by tutelage
    """

    def __init__(self, source: str, content: Mapping[str, Any], at: str = "") -> None:
        self.source = source
        self.content = content
        self.at = at

    def refusal(self, key: str, wanted: str) -> DataError:
        """The error to raise where ``key`` does not hold what was wanted."""
        found = repr(self.content[key])[:80] if key in self.content else "nothing"
        return DataError(
            f"{self.source}: expected {wanted} at {self.at}{key}, found {found}; "
            f"the file is damaged or was not written by tutelage"
        )

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self.content.get(key) is not None

    def text(self, key: str) -> str:
        """A string."""
        value = self.content.get(key)
        if not isinstance(value, str):
            raise self.refusal(key, "a text")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refusal(key, "a finite number")
        return float(value)

    def count(self, key: str) -> int:
        """A whole number, zero or more."""
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refusal(key, "a whole number")
        return value

    def fraction(self, key: str) -> float:
        """An accuracy: a number between 0 and 1."""
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.refusal(key, "a number between 0 and 1")
        return float(value)

    def measurement(self, key: str) -> float:
        """A number that may have overflowed in training: null and NaN both read as NaN."""
        value = self.content.get(key)
        if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
            raise self.refusal(key, "a number")
        return math.nan if value is None else float(value)

    def child(self, key: str) -> "Fields":
        """An object inside this one."""
        value = self.content.get(key)
        if not isinstance(value, dict):
            raise self.refusal(key, "an object")
        return Fields(self.source, value, f"{self.at}{key}.")

    def children(self, key: str) -> list["Fields"]:
        """A list of objects inside this one."""
        values = self.content.get(key)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.refusal(key, "a list of objects")
        return [Fields(self.source, value, f"{self.at}{key}.{i}.") for i, value in enumerate(values)]


def read_json(path: Path) -> Fields:
    """Read a file that holds one JSON object.

    Raises:
        DataError: if it cannot be read or is not one JSON object.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "result.json"
        >>> _ = path.write_text('{"seed": 0}')
        >>> read_json(path).count("seed")
        0
    """
    return _parse(_text_of(path), str(path))


def read_lines(path: Path, *, whole: bool) -> list[Fields]:
    r"""Read a file that holds one JSON object a line.

    Args:
        path: The file.
        whole: Whether the run is finished. In a run that still goes on (or was killed) the last line may be
            cut in the middle: it is left out then, and an error otherwise.

    Raises:
        DataError: if it cannot be read or a line is not a JSON object.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> _ = path.write_text('{"step": 1}\n{"ste')
        >>> [line.count("step") for line in read_lines(path, whole=False)]
        [1]
    """
    text = _text_of(path)
    lines = text.split("\n")  # not splitlines: a text inside JSON may hold U+2028
    if not whole and not text.endswith("\n"):
        lines.pop()
    return [_parse(line, f"{path}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: it is not a text in UTF-8 ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _parse(text: str, source: str) -> Fields:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{source} is damaged: expected a JSON object, but {error}; remove the run or run it again"
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{source}: expected a JSON object, found {str(content)[:80]!r}")
    return Fields(source, content)
