"""Tables of encoded images in Parquet files, as the Hugging Face hub writes them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.data.tables import Encoded, Labelled, require_columns
from tutelage.errors import DataError

__all__ = ["parquet_columns", "parquet_splits", "read_parquet"]

_SPLIT = re.compile(r"^(train|test|validation|valid|val|dev)(?![a-z])")


def parquet_splits(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files below a folder by split, in the order of their names.

    The split stands at the beginning of the file's name (``train-00000-of-00002.parquet``) or is the name of its
    folder (``train/0000.parquet``); other files belong to ``train``.
    """
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        match = _SPLIT.match(file.name.lower()) or _SPLIT.match(file.parent.name.lower())
        splits.setdefault(match[1] if match else "train", []).append(file)
    return splits


def parquet_columns(file: Path) -> list[str]:
    """Names of the columns of a file.

    Raises:
        DataError: if the file is damaged.
    """
    import pyarrow.parquet

    with _readable(file):
        return list(pyarrow.parquet.read_schema(file).names)


def read_parquet(files: Sequence[Path], image: str, label: str) -> Labelled:
    """One split of Parquet files.

    Args:
        files: The shards in order; ids are the numbers of the rows over all of them.
        image: Name of the column of encoded images: a struct with ``bytes``, or bytes.
        label: Name of the column of labels.

    Returns:
        The encoded images, their labels, and the names of the classes where the files know them.

    Raises:
        DataError: if a column is missing or a file is damaged.
    """
    import pyarrow.parquet

    labels: list[Any] = []
    for file in files:
        with _readable(file):
            schema = pyarrow.parquet.read_schema(file)
            require_columns(schema.names, (image, label), str(file))
            labels += pyarrow.parquet.read_table(file, columns=[label]).column(0).to_pylist()
    return Labelled(lambda: _rows(files, image), labels, _class_names(schema.metadata, label))


def _rows(files: Sequence[Path], image: str) -> Iterator[Encoded]:
    import pyarrow
    import pyarrow.parquet

    for file in files:
        with _readable(file), pyarrow.parquet.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=[image]):
                column = batch.column(0)
                if pyarrow.types.is_struct(column.type):
                    column = column.field("bytes")
                for value in column:
                    content = value.as_py()
                    name = f"in row {number} of {file}"
                    if not isinstance(content, bytes):
                        raise DataError(f"no image {name}: the column {image!r} must hold encoded images")
                    yield name, content
                    number += 1


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {file} ({error}): download it again") from error


def _class_names(metadata: Mapping[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    """Names of the classes from the metadata that the `datasets` library writes."""
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    names = features.get(label, {}).get("names")
    return tuple(names) if names else None
