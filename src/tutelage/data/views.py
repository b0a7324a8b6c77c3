"""Views: augmentations that are pure functions of (seed, id, view).

Nothing is drawn from a global generator. The number of the view says which pixels appear, so that a teacher's
answer for (id, view) stays valid, teacher and student see the same pixels, and a resumed run repeats exactly.

Letters: n samples of a batch, m images of a store, h height, w width, c channels; h2, w2 after the view.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

from tutelage.data.counter import uniform_bits, uniform_integers
from tutelage.errors import ConfigError

__all__ = ["CropFlip", "Plain", "Views"]

VIEW_STREAM = 0x76696577
"""First counter of every draw of a view: keeps views and batch order independent under one seed."""


@runtime_checkable
class Views(Protocol):
    """What every family of views can do.

    Attributes:
        fingerprint: Same fingerprint, same (id, view) → pixels.
        num_views: How many views a sample has; None where every epoch is a view of its own.
        plain: The number of the view that is not augmented.
    """

    fingerprint: str
    num_views: int | None
    plain: int

    def draw(self, ids: Int64[Tensor, " n"], *, epoch: int) -> Int64[Tensor, " n"]:
        """The number of the view of each sample in an epoch."""
        ...

    def render(
        self, images: UInt8[Tensor, "m h w c"], ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]
    ) -> UInt8[Tensor, "n c h2 w2"]:
        """The pixels of views of the rows ``ids`` of ``images``, in channels_last memory."""
        ...


class Plain:
    """The images as they are: one view a sample, number 0.

    Example:
        >>> images = torch.zeros(5, 8, 8, 1, dtype=torch.uint8)
        >>> ids = torch.tensor([4, 2])
        >>> Plain().render(images, ids, Plain().draw(ids, epoch=0)).shape
        torch.Size([2, 1, 8, 8])
    """

    fingerprint: str = "plain"
    num_views: int | None = 1
    plain: int = 0

    def draw(self, ids: Int64[Tensor, " n"], *, epoch: int) -> Int64[Tensor, " n"]:
        """Zero for every sample in every epoch."""
        return torch.zeros_like(ids)

    def render(
        self, images: UInt8[Tensor, "m h w c"], ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]
    ) -> UInt8[Tensor, "n c h w"]:
        """The rows ``ids`` of ``images``."""
        return images.index_select(0, ids).permute(0, 3, 1, 2)


class CropFlip:
    """Random crop of the zero-padded image and random mirror image: the augmentation of the CIFAR literature.

    With padding p there are (2p + 1)² crops, times two with flips: 162 views for p = 4. The view of crop
    (dy, dx), counted from the upper left corner of the padded image, is

    .. code-block:: text

        (dy · (2p + 1) + dx) · 2 + flipped       without flips: dy · (2p + 1) + dx

    Pixels do not depend on the seed, so neither does the fingerprint: runs of all seeds share cached answers.

    Args:
        padding: Rows and columns of zeros on each side; 4 is the value of He et al. 2016, section 4.2
            (https://arxiv.org/abs/1512.03385).
        flip: Whether half of the views are mirror images.
        seed: Which view a sample has in an epoch.

    Raises:
        ConfigError: if the padding is negative.

    Example:
        >>> views = CropFlip(4, seed=1)
        >>> views.num_views, views.plain
        (162, 80)
        >>> views.draw(torch.arange(3), epoch=0).shape
        torch.Size([3])
    """

    def __init__(self, padding: int = 4, flip: bool = True, seed: int = 0) -> None:
        if padding < 0:
            raise ConfigError(f"the padding of CropFlip must be 0 or more, got {padding}")
        self.padding, self.flip, self.seed = padding, flip, seed
        side, mirrors = 2 * padding + 1, 1 + flip
        self.fingerprint: str = f"crop-flip(padding={padding},flip={flip})"
        self.num_views: int | None = side * side * mirrors
        self.plain: int = (padding * side + padding) * mirrors
        self._offsets: dict[tuple[int, int, torch.device], Tensor] = {}

    def draw(self, ids: Int64[Tensor, " n"], *, epoch: int) -> Int64[Tensor, " n"]:
        """One of the views of each sample, by a hash of (seed, epoch, id)."""
        bits = uniform_bits(self.seed, VIEW_STREAM, epoch, ids)
        return uniform_integers(bits, self.num_views or 1)

    def render(
        self, images: UInt8[Tensor, "m h w c"], ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]
    ) -> UInt8[Tensor, "n c h w"]:
        """The cropped and mirrored images.

        One gather of uint8 pixels for the whole batch; `benchmarks/loader.py` compares it with PIL image by image.
        """
        _, h, w, c = images.shape
        n, p = ids.shape[0], self.padding
        padded = images.new_zeros(n, h + 2 * p, w + 2 * p, c)
        padded[:, p : p + h, p : p + w] = images.index_select(0, ids)
        pixels = (h + 2 * p) * (w + 2 * p)
        # int32 indices are half as large and make the gather 10 % faster on one CPU thread.
        kind = torch.int32 if n * pixels < 2**31 else torch.int64
        starts = torch.arange(0, n * pixels, pixels, dtype=kind, device=images.device)
        index = self._pixel_offsets(h, w, images.device).index_select(0, views).to(kind).add_(starts[:, None])
        rows = padded.view(-1, c).index_select(0, index.view(-1))
        return rows.view(n, h, w, c).permute(0, 3, 1, 2)

    def _pixel_offsets(self, h: int, w: int, device: torch.device) -> Int32[Tensor, "v hw"]:
        """For each view the positions of its pixels in the padded image; made once a size and device."""
        key = (h, w, device)
        if key not in self._offsets:
            side, mirrors, wide = 2 * self.padding + 1, 1 + self.flip, w + 2 * self.padding
            view = torch.arange(self.num_views or 1, device=device)
            corner = view // mirrors
            dy, dx, flipped = corner // side, corner % side, (view % mirrors).bool()
            rows = dy[:, None] + torch.arange(h, device=device)
            columns = torch.arange(w, device=device).expand(len(view), w)
            columns = torch.where(flipped[:, None], columns.flip(1), columns) + dx[:, None]
            self._offsets[key] = (rows[:, :, None] * wide + columns[:, None, :]).flatten(1).int()
        return self._offsets[key]
