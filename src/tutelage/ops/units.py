"""Rows of length one, safe where a row has no direction.

Letters: n rows, d features.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["unit_gap", "unit_rows"]


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
    # Masks are applied to numbers a row, not to the rows, whose passes are most of what IE-KD's terms cost.
    largest = x.detach().abs().amax(1, keepdim=True)
    alive = largest > 0 if alive is None else alive.unsqueeze(1) & (largest > 0)
    scaled = x / torch.where(alive, largest, 1.0)
    norm = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled * torch.where(alive, 1 / torch.where(alive, norm, 1.0), 0.0)


def unit_gap(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], *, p: float | int = 1) -> Float[Tensor, " n"]:
    r"""How far the directions of two rows are apart, as a mean over their d numbers.

    .. math:: g_i = \Big( \tfrac1d \sum_j |\hat a_{ij} - \hat b_{ij}|^p \Big)^{1/p}, \qquad
              \hat a_i = a_i / \|a_i\|_2

    For p up to 2 it is at most :math:`2 / \sqrt d`. Rows that are equal have gap zero and no gradient, where the root
    of p = 2 alone would give an infinite one.

    Args:
        a: one row a sample, in at least float32.
        b: the same shape and type.
        p: exponent, at least 1.

    Returns:
        One gap a row.

    Example:
        >>> unit_gap(torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [5.0, 5.0]]))
        tensor([1., 0.])
    """
    gap = (unit_rows(a) - unit_rows(b)).abs()
    if p == 1:
        return gap.mean(1)
    mean = gap.pow(p).mean(1)
    apart = mean > 0
    return torch.where(apart, torch.where(apart, mean, 1.0).pow(1 / p), 0.0)
