"""Writing decoded images to disk: complete or not at all.

A store is a folder with ``{train,test}.images.npy``, ``{train,test}.labels.npy`` and ``meta.json``. It is written
to a temporary folder beside its place and renamed when complete, so that a stopped run leaves nothing that looks
like a store.

Letters: n images, h height, w width, c channels.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tutelage.errors import DataError

__all__ = ["FORMAT", "Decoded", "Split", "checksum", "write_store"]

FORMAT = 1
"""Version of the layout of a store; another one is decoded again."""

_WHOLE_FILE_LIMIT = 2 << 30
_CHECKED_ROWS = 1024


@dataclass(frozen=True)
class Split:
    """Images of a split, ready to be written block by block.

    Args:
        shape: Height, width and channels of every image.
        labels: ``(n,)`` int64.
        blocks: Gives the images in order, as uint8 arrays ``(any, h, w, c)``.
    """

    shape: tuple[int, int, int]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    blocks: Callable[[], Iterable[np.ndarray[Any, np.dtype[np.uint8]]]]

    @property
    def num_bytes(self) -> int:
        """Size of the images when written."""
        h, w, c = self.shape
        return len(self.labels) * h * w * c


@dataclass(frozen=True)
class Decoded:
    """What a source gives to be stored.

    Args:
        train: The training split.
        test: The test split.
        classes: Names in the order of the labels.
        view_size: Size of the views where images are stored larger.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    view_size: int | None = None


def write_store(place: Path, decoded: Decoded) -> None:
    """Write a store; nothing remains where that fails.

    Args:
        place: The folder to make. Where another process makes it at the same time, its result is kept.
        decoded: The images.

    Raises:
        DataError: if there is no space (with the bytes needed and free) or the folder cannot be written.
    """
    needed = decoded.train.num_bytes + decoded.test.num_bytes
    temporary: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(place.parent).free < needed:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        _write(temporary, decoded)
        _rename(temporary, place)
    except OSError as error:
        raise _disk_error(error, place.parent, needed) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _disk_error(error: OSError, folder: Path, needed: int) -> DataError:
    if error.errno not in (ENOSPC, EDQUOT):
        return DataError(
            f"cannot write to the cache folder {folder} ({error.strerror or error}): "
            f"set TUTELAGE_CACHE to a folder of your own"
        )
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return DataError(
        f"no space left in {folder}: the decoded images need {needed:,} bytes, "
        f"{shutil.disk_usage(existing).free:,} are free; make room or set TUTELAGE_CACHE to a folder on a larger disk"
    )


def _rename(temporary: Path, place: Path) -> None:
    _sync(temporary)
    try:
        temporary.rename(place)
    except OSError:
        # Another process was faster: it has made the same.
        if not place.is_dir():
            raise
    _sync(place.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; Windows cannot open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write(folder: Path, decoded: Decoded) -> None:
    meta: dict[str, Any] = {
        "format": FORMAT,
        "classes": decoded.classes,
        "view_size": decoded.view_size,
    }
    for name, split in (("train", decoded.train), ("test", decoded.test)):
        images, labels = folder / f"{name}.images.npy", folder / f"{name}.labels.npy"
        histogram = _write_images(images, split)
        with labels.open("wb") as file:
            np.save(file, split.labels.astype(np.int64))
            _flush(file)
        meta[name] = checksum(images, labels)
        if name == "train":
            meta["mean"], meta["std"] = _moments(histogram)
    with (folder / "meta.json").open("wb") as file:
        file.write(json.dumps(meta, indent=1).encode())
        _flush(file)


def _write_images(path: Path, split: Split) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Write the blocks one after the other; returns how often each channel has each value."""
    c = split.shape[2]
    histogram = np.zeros((c, 256), np.int64)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(split.labels), *split.shape)}
    written = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in split.blocks():
            # Written, not mapped: a full disk is then an OSError and not a bus error.
            file.write(np.ascontiguousarray(block).data)
            written += block.size
            for channel in range(c):
                histogram[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        _flush(file)
    if written != split.num_bytes:
        raise DataError(
            f"{len(split.labels)} labels need {split.num_bytes:,} bytes of images, the source gave {written:,}: "
            f"it changed while it was read, try again"
        )
    return histogram


def _moments(histogram: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels scaled to 0..1."""
    values = np.arange(256) / 255
    shares = histogram / histogram.sum(1, keepdims=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    return mean.tolist(), np.sqrt(variance).tolist()


def checksum(*files: Path) -> str:
    """SHA-256 of ``.npy`` files, one after the other.

    Of a file beyond 2 GiB, which takes seconds to read, its size, header and 1024 evenly spaced rows.

    Raises:
        OSError: if a file is missing.
        ValueError: if a file beyond 2 GiB is shorter than its header says.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size <= _WHOLE_FILE_LIMIT:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                continue
        rows = np.load(path, mmap_mode="r")
        digest.update(f"{size} {rows.shape}".encode())
        for row in np.linspace(0, len(rows) - 1, _CHECKED_ROWS).astype(np.int64):
            digest.update(np.ascontiguousarray(rows[row]).data)
    return digest.hexdigest()
