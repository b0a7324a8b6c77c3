"""Sources of data sets: where the images of a name come from.

A source is found and checked at once; its images are decoded only where the cache does not hold them yet.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tutelage.data.decode import Format, choose_format, decode_split
from tutelage.data.folders import folder_splits
from tutelage.data.hub import Columns, choose_columns, hub_splits
from tutelage.data.parquet import parquet_columns, parquet_splits, read_parquet
from tutelage.data.splits import stratified_split
from tutelage.data.tables import Labelled, number_classes, split_off_test
from tutelage.data.writing import Decoded, Split
from tutelage.errors import ConfigError, DataError, UnknownNameError

__all__ = ["Source", "find_source"]

_TEST_SHARE = 0.2
"""Share of each class that is held out where a data set has no test split."""
_TEST_SPLITS = ("test", "validation", "valid", "val", "dev")


@dataclass(frozen=True)
class Source:
    """A data set that can be decoded.

    Args:
        name: Name of its folder in the cache.
        key: Changes when the source does.
        decode: Gives the images.
        statistics: Mean and standard deviation of each channel where the literature agrees on them.
    """

    name: str
    key: str
    decode: Callable[[], Decoded]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True)
class _Cifar:
    hub: str
    label: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]]


_CIFAR = {
    "cifar10": _Cifar("uoft-cs/cifar10", "label", ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
    "cifar100": _Cifar("uoft-cs/cifar100", "fine_label", ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))),
}


def find_source(spec: str, size: int | None) -> Source:
    """The source of a data set.

    Args:
        spec: As for `open_dataset`.
        size: Size of the views; None for the default.

    Raises:
        UnknownNameError: if there is no such kind of data set.
        ConfigError: if digits or CIFAR are wanted in another size than their own.
        DataError: if files are missing.
    """
    kind, _, rest = spec.partition(":")
    if kind == "folder" and rest:
        return _folder(Path(rest).expanduser(), size)
    if kind == "hf" and rest:
        return _hf(rest, size)
    if spec != "digits" and spec not in _CIFAR:
        raise UnknownNameError("data set", spec, [*_CIFAR, "digits", "folder:PATH", "hf:NAME"])
    own = 8 if spec == "digits" else 32
    if size not in (None, own):
        raise ConfigError(f"the images of {spec} have {own} pixels a side, {size} were asked for: leave size out")
    return Source("digits", "1", _digits) if spec == "digits" else _cifar(spec, _CIFAR[spec])


def _digits() -> Decoded:
    """Handwritten digits, 8 x 8 grey, values 0..16 times 15; a quarter of each class is the test split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    kept, held_out = (ids.numpy() for ids in stratified_split(torch.from_numpy(labels), fraction=0.25, seed=0))
    return Decoded(
        Split((8, 8, 1), labels[kept], lambda: [images[kept]]),
        Split((8, 8, 1), labels[held_out], lambda: [images[held_out]]),
        tuple(map(str, bunch.target_names)),
    )


def _cifar(name: str, cifar: _Cifar) -> Source:
    """CIFAR from Parquet files below ``$TUTELAGE_DATA``, else from the hub."""
    columns, form = ("img", cifar.label), Format((32, 32, 3), None)
    root = os.environ.get("TUTELAGE_DATA")
    folder = Path(root).expanduser() / name if root else None
    files = parquet_splits(folder) if folder else {}
    if not files:
        looked = f" (there are no Parquet files in {folder})" if folder else ""
        advice = (
            f"connect, or set TUTELAGE_DATA to a folder that holds {name}/train*.parquet and "
            f"{name}/test*.parquet{looked}"
        )
        return Source(
            name,
            "hub",
            lambda: _assembled(hub_splits(cifar.hub, columns, advice), cifar.hub, form),
            cifar.statistics,
        )
    for split in ("train", "test"):
        if split not in files:
            raise DataError(f"{folder} has no {split}*.parquet, only {', '.join(sorted(files))}: add it")
    key = _file_key(folder or Path(), (file for shards in files.values() for file in shards))
    return Source(name, key, lambda: _from_parquet(files, columns, str(folder), form), cifar.statistics)


def _folder(root: Path, size: int | None) -> Source:
    splits, files = folder_splits(root)
    key = _file_key(root, files, size)
    return Source(f"folder-{_plain_name(root.resolve().name)}", key, lambda: _assembled(splits, str(root), size))


def _hf(rest: str, size: int | None) -> Source:
    """A hub data set or local folder, with or without column names; Parquet files are read directly."""
    name, columns = _columns_of(rest)
    folder = Path(name).expanduser()
    files = parquet_splits(folder) if folder.is_dir() else {}
    cached_name = f"hf-{_plain_name(name)}"
    if files:
        chosen = choose_columns(parquet_columns(next(iter(files.values()))[0]), columns, name)
        key = _file_key(folder, (file for shards in files.values() for file in shards), size, chosen)
        return Source(cached_name, key, lambda: _from_parquet(files, chosen, name, size))
    here = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
    key = _file_key(folder, here, name, size, columns)
    return Source(cached_name, key, lambda: _assembled(hub_splits(name, columns), name, size))


def _columns_of(rest: str) -> tuple[str, Columns | None]:
    """Split ``NAME:image_column:label_column``; a folder that exists is a name, whatever its colons."""
    parts = rest.rsplit(":", 2)
    if Path(rest).expanduser().exists() or len(parts) == 1:
        return rest, None
    if len(parts) == 2:
        raise ConfigError(f"name both columns or none, as hf:NAME:image_column:label_column, got hf:{rest}")
    return parts[0], (parts[1], parts[2])


def _from_parquet(files: Mapping[str, list[Path]], columns: Columns, where: str, form: Format | int | None) -> Decoded:
    return _assembled({split: read_parquet(shards, *columns) for split, shards in files.items()}, where, form)


def _assembled(splits: Mapping[str, Labelled], where: str, form: Format | int | None) -> Decoded:
    """Number the classes, choose or make the test split, and decide how images are stored.

    A split that is empty or has no label but −1, as the test split of ImageNet on the hub, counts as absent.
    """
    known = {name: split for name, split in splits.items() if any(label != -1 for label in split.labels)}
    train = known.get("train") or next(iter(known.values()), None)
    if train is None:
        raise DataError(f"there are no labelled images in {where}")
    test = next((known[name] for name in _TEST_SPLITS if name in known and known[name] is not train), None)
    tables, classes = number_classes([train] if test is None else [train, test], where)
    parts = tables if test else split_off_test(tables[0], _TEST_SHARE, where)
    chosen = form if isinstance(form, Format) else choose_format(tables, form)
    return Decoded(decode_split(parts[0], chosen), decode_split(parts[1], chosen), classes, chosen.size)


def _plain_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _file_key(root: Path, files: Iterable[Path], *more: object) -> str:
    """Short text that changes when a file is added, removed, renamed, resized or written again."""
    digest = hashlib.sha256(repr(more).encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.relative_to(root).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:12]
