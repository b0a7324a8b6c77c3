"""Random resized crops: the augmentation of larger images, as a pure function of (seed, id, view).

Every weight and sum below is a whole number that float32 holds exactly (below 2²⁴), so that the pixels do not depend
on the batch size, the number of threads or the order in which a device adds.

Letters: n samples of a batch, m images of a store, h height, w width, c channels, s size of the view, t taps.
"""

import math

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from tutelage.data.counter import uniform_bits, uniform_integers, uniform_unit
from tutelage.data.views import VIEW_STREAM
from tutelage.errors import ConfigError

__all__ = ["RandomResizedCrop"]

_TRIES = 10
"""Draws of area and aspect before the centre is taken, as in torchvision."""
_WEIGHT_UNIT = 4096
"""Weights are whole multiples of 1/4096."""
_BETWEEN_UNIT = 16
"""Pixels between the two passes are whole multiples of 1/16: 255 · 16 · 4096 is just below 2²⁴."""
_CHUNK = 4
"""Images resized at once on the CPU, so that the intermediate rows (0.7 MB an image at 224 px) stay in the cache."""


class RandomResizedCrop:
    r"""A crop of random area and aspect, resized to a square, half of them mirrored (Szegedy et al. 2015).

    .. math:: \text{area} = u_1 h w,\ \log \text{aspect} = u_2 \quad \text{until the crop fits, at most 10 times}

    with :math:`u_1` uniform in ``scale`` and :math:`u_2` uniform in the logarithm of ``ratio``. Resizing is bilinear
    and antialiased with half-pixel centres, at most one grey level off `F.interpolate(..., antialias=True)`. There
    is one view per epoch: the view's number is the epoch, −1 is the plain view, the square in the middle that
    takes up 7/8 of the short side (224 of 256, not resized).

    Args:
        size: Height and width of the views.
        scale: Range of the share of the area; the default is that of section 6 of https://arxiv.org/abs/1409.4842.
        ratio: Range of width / height, likewise.
        flip: Whether half of the views are mirror images.
        seed: Which crops; unlike that of `CropFlip` it is part of the fingerprint, as it changes the pixels.

    Raises:
        ConfigError: if the size is below 1 or a range is empty or outside its bounds.

    Example:
        >>> views = RandomResizedCrop(24, seed=1)
        >>> images, ids = torch.zeros(5, 32, 40, 3, dtype=torch.uint8), torch.tensor([4, 2])
        >>> views.render(images, ids, views.draw(ids, epoch=7)).shape
        torch.Size([2, 3, 24, 24])
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
        seed: int = 0,
    ) -> None:
        if size < 1:
            raise ConfigError(f"the size of the views must be at least 1, got {size}")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ConfigError(f"scale must be two numbers with 0 < low <= high <= 1, got {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(f"ratio must be two numbers with 0 < low <= high, got {ratio}")
        self.size, self.scale, self.ratio, self.flip, self.seed = size, scale, ratio, flip, seed
        self.fingerprint: str = (
            f"random-resized-crop(size={size},scale={_floats(scale)},ratio={_floats(ratio)},flip={flip},seed={seed})"
        )
        self.num_views: int | None = None
        self.plain: int = 2**31 - 1  # no epoch: a view that caches can address

    def draw(self, ids: Int64[Tensor, " n"], *, epoch: int) -> Int64[Tensor, " n"]:
        """The epoch, for every sample."""
        return torch.full_like(ids, epoch)

    def render(
        self, images: UInt8[Tensor, "m h w c"], ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]
    ) -> UInt8[Tensor, "n c s s"]:
        """The cropped, resized and mirrored images.

        Two passes, rows then columns, each a weighted sum of gathered rows. Dense matrix products took seven times
        as long on one CPU thread (90 against 650 images/s, 256 → 224 px): only three of 256 weights are not zero.
        """
        _, h, w, c = images.shape
        boxes, mirrored = self._boxes(ids, views, h, w)
        down, down_weights = _taps(boxes[:, 0], boxes[:, 2], h, self.size)
        across, across_weights = _taps(boxes[:, 1], boxes[:, 3], w, self.size)
        flip = mirrored[:, None, None]
        across = torch.where(flip, across.flip(1), across)
        across_weights = torch.where(flip, across_weights.flip(1), across_weights)
        down = down + (ids * h)[:, None, None]
        chunk = _CHUNK if images.device.type == "cpu" else max(1, len(ids))
        pixels = images.new_empty(len(ids), self.size, self.size, c)
        for start in range(0, len(ids), chunk):
            part = slice(start, start + chunk)
            pixels[part] = _resized(images, down[part], down_weights[part], across[part], across_weights[part])
        return pixels.permute(0, 3, 1, 2)

    def _boxes(
        self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"], h: int, w: int
    ) -> tuple[Int64[Tensor, "n 4"], Bool[Tensor, " n"]]:
        """Top, left, height and width of each crop, and which ones are mirrored."""
        draws = torch.arange(2 * _TRIES + 3, device=ids.device)
        bits = uniform_bits(self.seed, VIEW_STREAM, ids[:, None], views[:, None], draws)
        unit = uniform_unit(bits)
        # float64: a device that rounds the last bit of sqrt or exp otherwise still gets the same whole numbers.
        area = h * w * (self.scale[0] + unit[:, :_TRIES] * (self.scale[1] - self.scale[0]))
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        aspect = (low + unit[:, _TRIES : 2 * _TRIES] * (high - low)).exp()
        widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)
        first = fits.int().argmax(1, keepdim=True)
        width, height = widths.gather(1, first)[:, 0], heights.gather(1, first)[:, 0]
        top = uniform_integers(bits[:, -3], h - height + 1)
        left = uniform_integers(bits[:, -2], w - width + 1)
        drawn = torch.stack([top, left, height, width], 1)
        plain = views == self.plain
        boxes = torch.where(fits.any(1)[:, None], drawn, _centre(ids, self._fallback(h, w), (h, w)))
        side = max(1, round(min(h, w) * 7 / 8))
        boxes = torch.where(plain[:, None], _centre(ids, (side, side), (h, w)), boxes)
        return boxes, (bits[:, -1] < 0) & ~plain if self.flip else torch.zeros_like(plain)

    def _fallback(self, h: int, w: int) -> tuple[int, int]:
        """Height and width of the largest crop of an allowed aspect."""
        if w / h < self.ratio[0]:
            return max(1, round(w / self.ratio[0])), w
        if w / h > self.ratio[1]:
            return h, max(1, round(h * self.ratio[1]))
        return h, w


def _floats(pair: tuple[float, float]) -> tuple[float, float]:
    """So that (0.5, 1) and (0.5, 1.0) are the same in a fingerprint."""
    return float(pair[0]), float(pair[1])


def _centre(ids: Int64[Tensor, " n"], inner: tuple[int, int], outer: tuple[int, int]) -> Int64[Tensor, "n 4"]:
    """The box in the middle, once for every id; filled on its device, as a copy from the host would wait for it."""
    box = ((outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2, *inner)
    return torch.stack([torch.full_like(ids, value) for value in box], 1)


def _resized(
    images: UInt8[Tensor, "m h w c"],
    down: Int64[Tensor, "n s t"],
    down_weights: Float32[Tensor, "n s t"],
    across: Int64[Tensor, "n s u"],
    across_weights: Float32[Tensor, "n s u"],
) -> Float32[Tensor, "n s s c"]:
    """Weighted sums of rows, counted over all images, then of columns."""
    _, _, w, c = images.shape
    n, s, _ = down.shape
    rows = torch.zeros(n, s, w * c, device=images.device)
    for tap in range(down.shape[2]):
        source = images.view(-1, w * c).index_select(0, down[..., tap].flatten())
        rows.addcmul_(source.view(rows.shape).float(), down_weights[..., tap, None])
    rows.div_(_WEIGHT_UNIT // _BETWEEN_UNIT).round_()
    lines = torch.arange(0, n * s * w, w, device=images.device).view(n, s, 1)
    pixels = torch.zeros(n, s, s * c, device=images.device)
    for tap in range(across.shape[2]):
        source = rows.view(-1, c).index_select(0, (lines + across[:, None, :, tap]).flatten())
        # One weight a number, not a pixel: a product over runs of three numbers is not vectorised.
        pixels.addcmul_(source.view(pixels.shape), across_weights[:, None, :, tap].repeat_interleave(c, 2))
    return pixels.div_(_WEIGHT_UNIT * _BETWEEN_UNIT).round_().view(n, s, s, c)


def _taps(
    start: Int64[Tensor, " n"], length: Int64[Tensor, " n"], total: int, size: int
) -> tuple[Int64[Tensor, "n s t"], Float32[Tensor, "n s t"]]:
    """Input pixels of each of the ``size`` output pixels and their weights, in units of 1/4096.

    The triangle filter of half-pixel centres, wide enough to cover every input pixel when it shrinks:
    ``max(0, 1 − |k + ½ − (o + ½) · length / size| / max(length / size, 1))`` for pixel k of the crop. All of it
    is integer arithmetic, in units of 1 / (2 · size) pixel.
    """
    centre = (2 * torch.arange(size, device=start.device) + 1) * length[:, None]
    reach = 2 * length.clamp(min=size)[:, None]
    first = torch.div(centre - reach - size, 2 * size, rounding_mode="floor") + 1
    taps = math.ceil(2 * max(total, size) / size)
    pixel = first[..., None] + torch.arange(taps, device=start.device)
    weight = (reach[..., None] - (size * (2 * pixel + 1) - centre[..., None]).abs()).clamp(min=0)
    weight = weight * ((pixel >= 0) & (pixel < length[:, None, None]))
    # Rounding the running sum, not each weight, keeps the sum of the weights at exactly one.
    running = weight.cumsum(2)
    whole = running[..., -1:]
    rounded = torch.div(2 * _WEIGHT_UNIT * running + whole, 2 * whole, rounding_mode="floor")
    share = rounded.diff(dim=2, prepend=torch.zeros_like(whole)).float()
    return (start[:, None, None] + pixel).clamp(0, total - 1), share
