"""PKT: the chance that a sample has of being another's neighbour is the one that the teacher gives it.

Letters: n samples, ds and dt features of student and teacher.
Source: Passalis, Tefas. Learning Deep Representations with Probabilistic Knowledge Transfer. ECCV 2018.
https://arxiv.org/abs/1803.10837
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_rows
from tutelage.ops.precision import upcast_both
from tutelage.ops.products import products
from tutelage.ops.units import unit_rows

__all__ = ["pkt"]

_EPS = 1e-7
"""Of the authors' code: opposite rows have similarity zero, and its logarithm must be finite."""


def pkt(student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"]) -> Float[Tensor, " n"]:
    r"""Divergence between the distributions of neighbours, over the number of samples.

    With ε = 1e-7:

    .. math:: \ell_i = \tfrac1n \sum_j p^T_{ij} \ln \frac{p^T_{ij} + \epsilon}{p^S_{ij} + \epsilon}, \qquad
              p_{ij} = \frac{1 + \cos(x_i, x_j)}{\sum_k 1 + \cos(x_i, x_k)}

    A sample is among its own neighbours, as in the authors' code. A row of zeros has cosine zero with every other.

    Args:
        student: one feature row a sample.
        teacher: one feature row for each of the same samples, of any width; no gradient flows there.

    Returns:
        One loss per sample, zero where all cosines agree; not below zero by more than the rounding; at least float32.
        The mean is the loss of the authors' code, n times smaller than the divergence.

    Raises:
        ShapeError: if the two are not matrices with the same number of rows, at least 2.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> pkt(3 * teacher, teacher), pkt(torch.ones(2, 1), teacher)
        (tensor([0., 0.]), tensor([0.0283, 0.0283]))
    """
    check_paired_rows(student, teacher, at_least=2)
    ours, theirs = (_neighbourhoods(x) for x in upcast_both(student, teacher.detach()))
    return (theirs * ((theirs + _EPS).log() - (ours + _EPS).log())).mean(1)


def _neighbourhoods(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    unit = unit_rows(x)
    likeness = (1 + products(unit, unit)).clamp_min(0.0)  # the cosine of opposites may be −1 − 6e-8
    return likeness / likeness.sum(1, keepdim=True)
