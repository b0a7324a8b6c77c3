"""SP: samples whose activations are alike in the teacher are alike in the student.

Letters: n samples, ds and dt activations of student and teacher.
Source: Tung, Mori. Similarity-Preserving Knowledge Distillation. ICCV 2019. https://arxiv.org/abs/1907.09682
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_rows
from tutelage.ops.precision import upcast_both
from tutelage.ops.products import products
from tutelage.ops.units import unit_rows

__all__ = ["similarity_preserving"]


def similarity_preserving(student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"]) -> Float[Tensor, " n"]:
    r"""Squared gap between the similarities that a sample has to all samples of the batch.

    Similarities are scalar products; each row of them is brought to length one:

    .. math:: \ell_i = \tfrac1n \sum_j (\hat G^S_{ij} - \hat G^T_{ij})^2, \qquad
              G = F F^\top, \quad \hat G_{i} = G_i / \|G_i\|_2

    A sample whose activations are all zero is alike to none: its row of similarities is zero.

    Args:
        student: one row a sample: the numbers of a map side by side.
        teacher: one row for each of the same samples, of any width; no gradient flows there.

    Returns:
        One loss per sample, zero where the similarities agree up to a factor, at most 4 / n; at least float32. The
        mean is the loss of the paper.

    Raises:
        ShapeError: if the two are not matrices with the same number of rows, at least 2.

    Example:
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> similarity_preserving(3 * teacher, teacher), similarity_preserving(torch.ones(2, 1), teacher)
        (tensor([0., 0.]), tensor([0.2929, 0.2929]))
    """
    check_paired_rows(student, teacher, at_least=2)
    ours, theirs = upcast_both(student, teacher.detach())
    return (_similarities(ours) - _similarities(theirs)).square().mean(1)


def _similarities(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    largest = x.detach().abs().amax()
    x = x / torch.where(largest > 0, largest, 1.0)  # products of 1e30 would overflow, of 1e-30 vanish
    return unit_rows(products(x, x))
