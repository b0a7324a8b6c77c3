"""Encoded images → uint8 arrays of one shape.

Letters: n images, h height, w width, c channels.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.data.tables import Encoded, Table
from tutelage.data.writing import Split
from tutelage.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Format", "choose_format", "decode_split"]

_SMALL = 64
_DEFAULT_SIZE = 224
_BLOCK = 512
_HAND = 32
_GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"}


@dataclass(frozen=True)
class Format:
    """The shape of the stored images and how they get it.

    Args:
        shape: Height, width and channels.
        size: Size of the networks' input where images are resized, None where they are stored as they are.
    """

    shape: tuple[int, int, int]
    size: int | None


def choose_format(tables: Iterable[Table], size: int | None) -> Format:
    """Store images of one common size up to 64 px as they are, resize all others to squares.

    Resized images are stored at 8/7 of ``size`` (224 → 256), which leaves room for crops. They have one channel
    where all images are grey, else three. Only headers are read, and only until the answer is known.

    Args:
        tables: All splits.
        size: Size of the networks' input; None stands for 224 where images are resized.

    Raises:
        ConfigError: if the size is below 8.
        DataError: if an image cannot be read.
    """
    if size is not None and size < 8:
        raise ConfigError(f"the image size must be at least 8 pixels, got {size}")
    common: tuple[int, int] | None = None
    grey = as_they_are = True
    for encoded in chain.from_iterable(table.rows() for table in tables):
        with _opened(encoded) as image:
            grey = grey and image.mode in _GREY_MODES
            common = common or image.size
            as_they_are = as_they_are and image.size == common and max(common) <= _SMALL
        if not grey and not as_they_are:
            break
    channels = 1 if grey else 3
    if as_they_are and common and (size is None or common == (size, size)):
        return Format((common[1], common[0], channels), None)
    side = round((size or _DEFAULT_SIZE) * 8 / 7)
    return Format((side, side, channels), size or _DEFAULT_SIZE)


def decode_split(table: Table, form: Format) -> Split:
    """The split that `open_or_decode` writes, decoded on demand by one thread a core."""
    return Split(form.shape, table.labels, lambda: _blocks(table, form))


def _blocks(table: Table, form: Format) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    def decode_hand(hand: list[Encoded]) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
        return [_decode(encoded, form) for encoded in hand]

    rows = table.rows()
    # PIL lets go of the interpreter while it decodes, so threads are enough; 32 images a task keep its cost low.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while block := list(islice(rows, _BLOCK)):
            hands = [block[start : start + _HAND] for start in range(0, len(block), _HAND)]
            yield np.stack(list(chain.from_iterable(pool.map(decode_hand, hands))))


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turns what PIL raises for a broken image into a DataError that names the image."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        DecompressionBombError,
    ) as error:
        if isinstance(error, DataError):
            raise
        why = str(error) or type(error).__name__
        raise DataError(f"cannot read the image {name} ({why}): replace it or remove it") from error


def _opened(encoded: Encoded) -> "Image":
    from PIL import Image

    name, source = encoded
    with _readable(name):
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _decode(encoded: Encoded, form: Format) -> np.ndarray[Any, np.dtype[np.uint8]]:
    name, _ = encoded
    with _opened(encoded) as image, _readable(name):
        image = _converted(image, form.shape[2])
        if form.size is not None:
            image = _resized(image, form.shape[0])
        pixels = np.asarray(image)
    if pixels.shape[:2] != form.shape[:2]:
        raise DataError(
            f"the image {name} has {pixels.shape[0]} x {pixels.shape[1]} pixels, "
            f"{form.shape[0]} x {form.shape[1]} were expected"
        )
    return pixels.reshape(form.shape)


def _converted(image: "Image", channels: int) -> "Image":
    """The image as 8-bit grey or RGB; PIL cuts 16-bit values off at 255, so they are scaled first."""
    from PIL import Image

    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        image = Image.fromarray((deep >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _resized(image: "Image", side: int) -> "Image":
    """Upright, short side to ``side`` (bicubic, antialiased), and the square in the middle."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    scale = side / min(image.size)
    w, h = (max(side, round(length * scale)) for length in image.size)
    image = image.resize((w, h), Image.Resampling.BICUBIC)
    left, top = (w - side) // 2, (h - side) // 2
    return image.crop((left, top, left + side, top + side))
