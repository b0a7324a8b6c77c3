"""The types that cross the borders between modules.

Letters: n samples, c channels, h height, w width, k classes.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

__all__ = ["Batch", "Outputs", "Shapes", "Term"]


Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each output by role, without the batch dimension; ``"logits"`` is always there."""


class Batch(NamedTuple):
    """One mini-batch, exactly as student and teacher both see it.

    Attributes:
        images: ``(n, c, h, w)`` pixels in 0–255, uint8 (or float where images are mixed), not normalised:
            every network normalises by its own mean and standard deviation.
        labels: ``(n,)`` int64 class numbers of the data set.
        ids: ``(n,)`` int64 row of each sample in its data set: permanent.
        views: ``(n,)`` int64 number of the view; (ids, views) determines the pixels.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    views: Tensor


class Outputs(NamedTuple):
    """What a network says about a batch.

    Attributes:
        logits: ``(n, k)`` class scores.
        taps: features by role, such as ``"embedding"`` ``(n, d)`` or ``"stage2"`` ``(n, c, h, w)``.
        known: ``(n,)`` bool, False where there is no answer (logits and taps are zero there); ``None``: all are known.
    """

    logits: Tensor
    taps: Mapping[str, Tensor]
    known: Tensor | None = None


class Term(NamedTuple):
    """One summand of the objective.

    Attributes:
        value: scalar; logged as it is.
        weight: what it is multiplied with in the sum.
    """

    value: Tensor
    weight: float
