"""Mixtures of images: mixup, mixup of three, and cutmix.

Letters: n samples, c channels, h height, w width, m images a mixture.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.errors import ConfigError
from tutelage.ops.checks import check_positive

__all__ = ["Mixing", "Mixture"]

_STREAM = 0x6D6978


class Mixture(NamedTuple):
    """One draw, for a whole batch as in the papers.

    Attributes:
        shares: Of the m images, summing to one: sample i is mixed with samples i + 1, …, i + m − 1 of its batch.
        box: Rows and columns (top, bottom, left, right) that cutmix takes from the second image; None for mixup.
    """

    shares: tuple[float, ...]
    box: tuple[int, int, int, int] | None = None

    def blend(self, images: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Each image mixed with those that follow it in the batch, as float pixels in 0–255.

        Example:
            >>> Mixture((0.75, 0.25)).blend(torch.tensor([0, 4]).view(2, 1, 1, 1)).flatten()
            tensor([1., 3.])
        """
        pixels = images.float()
        if self.box is None:
            return torch.stack([share * pixels.roll(-i, 0) for i, share in enumerate(self.shares)]).sum(0)
        top, bottom, left, right = self.box
        mixed = pixels.clone()
        mixed[:, :, top:bottom, left:right] = pixels.roll(-1, 0)[:, :, top:bottom, left:right]
        return mixed


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Train on mixtures: every term is the mean of the terms of the single images, by their shares.

    A loss that is linear in its target, as cross-entropy and KL are, is thereby the loss of the mixed target.
    (Zhang et al. 2018, https://arxiv.org/abs/1710.09412; Yun et al. 2019, https://arxiv.org/abs/1905.04899; with a
    teacher's answers as in alextxu/ckd@f8cc6bd.) Over several ranks each mixes its own part of the batch.

    Args:
        kind: mixup of two images, mixup3 of three, or cutmix.
        alpha: Of the Beta or Dirichlet distribution of the shares; 1 is uniform, as in CKD's comparison.

    Raises:
        ConfigError: if the kind is unknown or alpha not positive.

    Example:
        >>> Mixing(kind="mixup3").draw(seed=0, step=3, size=(32, 32)) == Mixing(kind="mixup3").draw(0, 3, (32, 32))
        True
    """

    kind: Literal["mixup", "mixup3", "cutmix"] = "mixup"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("mixup", "mixup3", "cutmix"):
            raise ConfigError(f"images are mixed by mixup, mixup3 or cutmix, got {self.kind!r}")
        check_positive(alpha=self.alpha)

    def draw(self, seed: int, step: int, size: tuple[int, int]) -> Mixture:
        """The mixture of a step: a function of seed and step, so that a resumed run repeats it.

        Args:
            seed: Of the run.
            step: Number of the batch.
            size: Height and width of the images.
        """
        generator = np.random.default_rng(int(uniform_bits(seed, _STREAM, step)) & (2**63 - 1))
        if self.kind != "cutmix":
            shares = generator.dirichlet([self.alpha] * (3 if self.kind == "mixup3" else 2))
            return Mixture(tuple(map(float, shares)))
        height, width = size
        side = float(np.sqrt(1 - generator.beta(self.alpha, self.alpha)))
        tall, wide = int(height * side), int(width * side)
        row, column = int(generator.integers(height)), int(generator.integers(width))
        top, bottom = (int(np.clip(row + half, 0, height)) for half in (-(tall // 2), tall // 2))
        left, right = (int(np.clip(column + half, 0, width)) for half in (-(wide // 2), wide // 2))
        covered = (bottom - top) * (right - left) / (height * width)
        return Mixture((1 - covered, covered), (top, bottom, left, right))
