"""Data sets: images with permanent ids, class names, pixel statistics and a default augmentation.

Letters: n images, h height, w width, c channels.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from tutelage.data.crops import RandomResizedCrop
from tutelage.data.sources import find_source
from tutelage.data.store import ImageStore, open_or_decode
from tutelage.data.views import CropFlip, Views
from tutelage.errors import LabelSpaceError
from tutelage.labels import LabelSpace, listed

__all__ = ["Dataset", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """Training and test images of one data set.

    Args:
        name: What it was opened as.
        labels: The classes, in the order of the label numbers.
        train: Training images; a validation split is carved from them (`stratified_split`).
        test: Test images. Images whose label is −1, in either, are of a class that does not take part.
        mean: Mean of each channel of the training pixels, scaled to 0..1.
        std: Standard deviation of each channel, likewise.
        view_size: Size of the views where images are stored larger, None where it is that of the images.
    """

    name: str
    labels: LabelSpace
    train: ImageStore
    test: ImageStore
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view_size: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any pixel, label, order or class name does; not with the name of the data set."""
        parts = (self.train.checksum, self.test.checksum, *self.labels.names)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.train.images.shape[3]

    @property
    def size(self) -> int:
        """Height of the views in pixels: what the networks see."""
        return self.view_size or self.train.images.shape[1]

    def restricted(self, labels: LabelSpace) -> "Dataset":
        """The same images with the labels of some classes only: those of all others are −1.

        Ids remain rows of the whole data set and the checksums those of its pixels, so that an answer that was kept
        for an image serves whatever the classes are. Mean and deviation stay those of all training images.

        Args:
            labels: Classes of this data set, in the order that their numbers are to have.

        Raises:
            LabelSpaceError: if it has a class that the data set lacks.

        Example:
            >>> from tutelage.data import ImageStore
            >>> store = ImageStore(torch.zeros(3, 8, 8, 1, dtype=torch.uint8), torch.tensor([0, 1, 2]), "three")
            >>> data = Dataset("mine", LabelSpace(("fox", "owl", "cat")), store, store, (0.5,), (0.5,))
            >>> data.restricted(LabelSpace(("cat", "fox"))).train.labels
            tensor([ 1, -1,  0])
        """
        if labels == self.labels:
            return self
        if missing := [name for name in labels.names if name not in self.labels.names]:
            raise LabelSpaceError(f"{self.name} has no classes {listed(missing)}; it has {listed(self.labels.names)}")
        numbers = torch.tensor(self.labels.index_in(labels))

        def relabelled(store: ImageStore) -> ImageStore:
            return replace(store, labels=numbers[store.labels])

        return replace(self, labels=labels, train=relabelled(self.train), test=relabelled(self.test))

    def views(self, *, seed: int) -> Views:
        """The default augmentation.

        Images that were stored as they are (up to 64 px) are cropped with a padding of an eighth of their size: 4
        for CIFAR, 1 for digits. Colour images are mirrored; grey ones are not, as they often show characters.
        Larger images get random resized crops.

        Args:
            seed: Which view a sample has in an epoch.
        """
        if self.view_size is not None:
            return RandomResizedCrop(self.view_size, seed=seed)
        return CropFlip(max(1, self.size // 8), flip=self.channels == 3, seed=seed)


def open_dataset(spec: str, *, size: int | None = None, cache: Path | None = None) -> Dataset:
    """Open a data set; its images are decoded once into the cache and memory-mapped from then on.

    Args:
        spec: ``digits``, ``cifar10``, ``cifar100``, ``folder:PATH`` (one folder a class) or
            ``hf:NAME[:image_column:label_column]`` (a data set of the Hugging Face hub, or a local folder).
        size: Size of the views. Images of one common size up to 64 px are stored as they are; all others are
            resized (short side to 8/7 of ``size``, bicubic, antialiased, centre crop): 256 for the default of 224.
        cache: Folder of decoded images; else ``$TUTELAGE_CACHE``, else ``~/.cache/tutelage``.

    Returns:
        The data set; ids are rows of its stores and never change.

    Raises:
        UnknownNameError: if there is no such kind of data set.
        DataError: if images or folders are missing, unreadable or damaged, or there is no space for the cache.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     digits = open_dataset("digits", cache=Path(folder))
        >>> digits.name, len(digits.labels), digits.channels, digits.size, len(digits.train), len(digits.test)
        ('digits', 10, 1, 8, 1348, 449)
    """
    source = find_source(spec, size)
    opened = open_or_decode(cache_folder(cache) / source.name, source.key, source.decode)
    mean, std = source.statistics or (opened.mean, opened.std)
    return Dataset(
        name=spec,
        labels=LabelSpace(opened.classes),
        train=opened.train,
        test=opened.test,
        mean=mean,
        std=std,
        view_size=opened.view_size,
    )


def cache_folder(cache: Path | None = None) -> Path:
    """Where decoded images are: the argument, else ``$TUTELAGE_CACHE``, else ``~/.cache/tutelage``."""
    return cache or Path(os.environ.get("TUTELAGE_CACHE") or Path.home() / ".cache" / "tutelage")
