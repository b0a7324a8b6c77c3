"""Rows of length one, safe where a row has no direction.

Letters: n rows, d features.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["unit_rows"]


def unit_rows(x: Float[Tensor, "n d"], alive: Bool[Tensor, " n"] | None = None) -> Float[Tensor, "n d"]:
    r"""Each row divided by its Euclidean norm; zero, with zero gradient, where the row has none.

    .. math:: u_i = x_i / \|x_i\|_2

    A row is first divided by its largest entry, so that the squares neither overflow nor vanish: the norm of a
    row of 1e-30 is zero in float32, and ``F.normalize`` then sends back the gradient times 1e12.

    Args:
        x: one row a sample, in at least float32.
        alive: rows that count as having a direction; by default those with an entry that is not zero.

    Returns:
        Rows of norm one, or zero.

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    largest = x.detach().abs().amax(1, keepdim=True)
    alive = largest > 0 if alive is None else alive.unsqueeze(1) & (largest > 0)
    scaled = torch.where(alive, x, 0.0) / torch.where(alive, largest, 1.0)
    norm = torch.where(alive, scaled, 1.0).square().sum(1, keepdim=True).sqrt()
    return scaled / norm
