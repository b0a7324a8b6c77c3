"""CC: the correlations between samples, by a Gaussian kernel, are those of the teacher.

Letters: n samples, ds and dt features of student and teacher.
Source: Peng et al. Correlation Congruence for Knowledge Distillation. ICCV 2019. https://arxiv.org/abs/1904.01802
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_paired_rows, check_positive
from tutelage.ops.distances import distances
from tutelage.ops.precision import upcast_both
from tutelage.ops.units import unit_rows

__all__ = ["correlation_congruence"]


def correlation_congruence(
    student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"], *, gamma: float = 0.4, order: int = 2
) -> Float[Tensor, " n"]:
    r"""Squared gap between the kernel matrices of student and teacher.

    On rows of length one the Gaussian kernel is a function of their cosine s, and is expanded to order P:

    .. math:: K(s) = e^{-\gamma \|x - y\|^2} \approx e^{-2\gamma} \sum_{p=0}^{P} \frac{(2\gamma)^p}{p!} s^p, \quad
              \ell_i = \tfrac1n \sum_j (K^S_{ij} - K^T_{ij})^2

    Three things go by this name. This is the kernel form of the paper (as in AberHu/Knowledge-Distillation-Zoo),
    not the product of neighbouring rows' gaps of RepDistiller, which needs student and teacher of one width, nor
    its earlier similarity of Gram matrices.

    Args:
        student: one feature row a sample.
        teacher: one feature row for each of the same samples, of any width; no gradient flows there.
        gamma: width of the kernel; 0.4 in the paper.
        order: P, the last power of the expansion; 2 in the paper.

    Returns:
        One loss per sample, zero where all cosines agree; at least float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the two are not matrices with the same number of rows, at least 2.
        ConfigError: if ``gamma`` is not above zero or ``order`` not at least 1.

    Example:
        >>> teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> correlation_congruence(3 * teacher, teacher), correlation_congruence(torch.ones(2, 2), teacher)
        (tensor([0., 0.]), tensor([0.1266, 0.1266]))
    """
    check_paired_rows(student, teacher, at_least=2)
    check_positive(gamma=gamma)
    if order < 1:
        raise ConfigError(f"order must be at least 1, got {order}: the kernel would be a constant")
    ours, theirs = upcast_both(student, teacher.detach())
    return (_kernel(ours, gamma, order) - _kernel(theirs, gamma, order)).square().mean(1)


def _kernel(x: Float[Tensor, "n d"], gamma: float, order: int) -> Float[Tensor, "n n"]:
    unit = unit_rows(x)
    # From the distances, because autocast lowers the backward pass of a product (to bfloat16) as well.
    square = unit.square().sum(1)
    cosine = 0.5 * (square.unsqueeze(1) + square - distances(unit).square())
    powers = [(2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(1, order + 1)]
    return math.exp(-2 * gamma) * (1 + torch.stack(powers).sum(0))
