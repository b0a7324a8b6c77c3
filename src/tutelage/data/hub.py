"""Data sets of the Hugging Face hub, or of a local folder in one of its layouts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.data.tables import Encoded, Labelled, require_columns
from tutelage.errors import DataError

__all__ = ["Columns", "choose_columns", "hub_splits"]

Columns = tuple[str, str]
"""Names of the column of images and of the column of labels."""

_IMAGE_NAMES = ("image", "img", "picture", "pixels")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


def choose_columns(present: list[str], asked: Columns | None, where: str) -> Columns:
    """The columns that were asked for, else the ones with usual names.

    Raises:
        DataError: if there is no such column, with the names of all.

    Example:
        >>> choose_columns(["img", "fine_label", "coarse_label"], None, "cifar100")
        ('img', 'fine_label')
    """
    if asked is not None:
        require_columns(present, asked, where)
        return asked
    image = next((name for name in _IMAGE_NAMES if name in present), None)
    label = next((name for name in _LABEL_NAMES if name in present), None)
    if image is None or label is None:
        missing = "image" if image is None else "label"
        raise DataError(
            f"{where} has no {missing} column of a usual name; its columns are {', '.join(present)}: "
            f"name the two as hf:NAME:image_column:label_column"
        )
    return image, label


def hub_splits(name: str, asked: Columns | None, advice: str = "connect") -> dict[str, Labelled]:
    """The splits that `datasets.load_dataset` finds.

    Args:
        name: Name on the hub, or a local folder.
        asked: The columns, None to look for usual names.
        advice: What to do when the hub cannot be reached.

    Raises:
        DataError: if the hub cannot be reached, or has no such data set, or a column is missing.
    """
    import datasets

    try:
        found = datasets.load_dataset(name)
    except ConnectionError as error:
        raise DataError(
            f"the data set {name!r} is not on this computer and the Hugging Face hub cannot be reached: {advice}"
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"cannot load the data set {name!r} ({error}): check the name") from error
    return {split: _labelled(part, asked, f"{name} ({split})") for split, part in found.items()}


def _labelled(part: Any, asked: Columns | None, where: str) -> Labelled:
    import datasets

    image, label = choose_columns(part.column_names, asked, where)
    if not isinstance(part.features[image], datasets.Image):
        raise DataError(f"the column {image!r} of {where} does not hold images but {part.features[image]}")
    encoded = part.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    names = getattr(part.features[label], "names", None)
    return Labelled(
        lambda: _rows(encoded, image, where), list(part[label]), tuple(names) if names is not None else None
    )


def _rows(encoded: Any, image: str, where: str) -> Iterator[Encoded]:
    for number, row in enumerate(encoded):
        value: Mapping[str, Any] = row[image] or {}
        content = value.get("bytes")
        if content is None and not value.get("path"):
            raise DataError(f"no image in row {number} of {where}: remove the row")
        yield f"in row {number} of {where}", content if content is not None else Path(value["path"])
