"""Decoded images: decoded once, memory-mapped afterwards, checked when opened.

Letters: n images, h height, w width, c channels.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tutelage.data.writing import FORMAT, Decoded, checksum, write_store
from tutelage.errors import DataError

__all__ = ["ImageStore", "Opened", "open_or_decode"]


@dataclass(frozen=True)
class ImageStore:
    """Images and labels, one row a sample; the number of the row is the permanent id.

    Args:
        images: ``(n, h, w, c)`` uint8, in memory or mapped from a file.
        labels: ``(n,)`` int64.
        checksum: SHA-256 over images and labels, or any text that changes with them.
        file: Where the images are mapped from: a worker process opens it again instead of copying the images.

    Example:
        >>> images = torch.zeros(2, 8, 8, 1, dtype=torch.uint8)
        >>> ImageStore(images, torch.tensor([0, 1]), "two").num_bytes
        128
    """

    images: UInt8[Tensor, "n h w c"]
    labels: Int64[Tensor, " n"]
    checksum: str
    file: Path | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_bytes(self) -> int:
        """Size of the images."""
        return self.images.numel()

    def to(self, device: str | torch.device) -> "ImageStore":
        """The store with all images in the memory of the device.

        A mapped file on the CPU is copied as well: page faults would come in the middle of a step.
        """
        target = torch.device(device)
        images = self.images.clone() if self.file and target.type == "cpu" else self.images.to(target)
        return ImageStore(images, self.labels.to(target), self.checksum)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            return ImageStore, (self.images, self.labels, self.checksum)
        return _reopened, (self.file, self.labels, self.checksum)


@dataclass(frozen=True)
class Opened:
    """A store that was found or just made.

    Args:
        train: The training split.
        test: The test split.
        classes: Names in the order of the labels.
        mean: Mean of each channel of the training images, scaled to 0..1.
        std: Standard deviation of each channel, likewise.
        view_size: Size of the views where images are stored larger.
    """

    train: ImageStore
    test: ImageStore
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view_size: int | None


def open_or_decode(folder: Path, key: str, decode: Callable[[], Decoded]) -> Opened:
    """Open the store ``<folder>-<key>``; make it first where it does not exist.

    Args:
        folder: Cache folder and name of the data set, such as ``~/.cache/tutelage/cifar100``.
        key: Short text that changes with the source.
        decode: Gives the images; called only where the store does not exist.

    Returns:
        The two splits, memory-mapped, with what is known about them.

    Raises:
        DataError: if the store is damaged, or there is no space for it.

    Example:
        >>> import tempfile
        >>> from tutelage.data.writing import Split
        >>> split = Split((2, 2, 1), np.array([0, 1]), lambda: [np.full((2, 2, 2, 1), 255, np.uint8)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     opened = open_or_decode(Path(folder) / "white", "1", lambda: Decoded(split, split, ("a", "b")))
        >>> opened.mean, opened.std, len(opened.test)
        ((1.0,), (0.0,), 2)
    """
    place = folder.with_name(f"{folder.name}-{key}")
    if not place.is_dir():
        write_store(place, decode())
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']} instead of {FORMAT}")
        train, test = (_open_split(place, name, meta[name]) for name in ("train", "test"))
        return Opened(
            train,
            test,
            classes=tuple(meta["classes"]),
            mean=tuple(meta["mean"]),
            std=tuple(meta["std"]),
            view_size=meta["view_size"],
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(
            f"the cached images in {place} are damaged ({type(error).__name__}: {error}): "
            f"delete that folder, and they are decoded again"
        ) from error


def _open_split(place: Path, name: str, expected: str) -> ImageStore:
    images, labels = place / f"{name}.images.npy", place / f"{name}.labels.npy"
    if checksum(images, labels) != expected:
        raise ValueError(f"the checksum of the {name} images differs")
    return ImageStore(_mapped(images), torch.from_numpy(np.load(labels)), expected, images)


def _mapped(file: Path) -> Tensor:
    """The images of a file; mapped copy-on-write, as torch warns about read-only arrays."""
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def _reopened(file: Path, labels: Tensor, expected: str) -> ImageStore:
    return ImageStore(_mapped(file), labels, expected, file)
