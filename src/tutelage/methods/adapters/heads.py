"""Brings the features of both networks into one space, for CRD."""

import math

from torch import Tensor, nn

from tutelage.methods.adapters.stages import shape_of
from tutelage.ops.precision import without_autocast
from tutelage.ops.units import unit_rows
from tutelage.types import Shapes

__all__ = ["EmbeddingHead", "embedding_head"]


class EmbeddingHead(nn.Module):
    """A linear layer, then rows of length one; a map counts as the vector of its numbers.

    In the precision of its weights, also under autocast: a temperature of 0.07 makes the rounding of bfloat16 (0.4 %)
    6 % of a score.

    Args:
        inputs: Numbers of a feature.
        width: Of the common space.

    Example:
        >>> import torch
        >>> EmbeddingHead(6, 3)(torch.ones(2, 6, 1, 1)).shape
        torch.Size([2, 3])
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, feature: Tensor) -> Tensor:
        """``(n, …)`` to ``(n, width)``."""
        with without_autocast(feature):
            return unit_rows(self.linear(feature.flatten(1).to(self.linear.weight.dtype)))


def embedding_head(who: str, role: str, shapes: Shapes, *, width: int) -> EmbeddingHead:
    """The head of one network.

    Args:
        who: ``"student"`` or ``"teacher"``.
        role: The feature.
        shapes: Shapes of the network's outputs.
        width: Of the common space.

    Raises:
        UnknownNameError: if the network has no such feature; names the nearest.

    Example:
        >>> embedding_head("student", "embedding", {"embedding": (6,)}, width=3).linear
        Linear(in_features=6, out_features=3, bias=True)
    """
    return EmbeddingHead(math.prod(shape_of(who, role, shapes)), width)
