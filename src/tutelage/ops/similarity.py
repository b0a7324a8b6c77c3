"""How alike two networks see the same samples, each with features of its own width.

Letters: n samples, ds and dt features of the two.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_paired_rows
from tutelage.ops.precision import upcast_both, without_autocast
from tutelage.ops.units import unit_rows

__all__ = ["correlation_gap", "linear_cka"]

_COLLAPSED = 1e-10
"""Columns that vary by less than this share of their largest entry count as constant: the mean of 10^4 equal numbers
is off by up to 1e-12 in float64, and float32 features that differ do so by 6e-8."""


def linear_cka(
    student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"], *, debiased: bool = True
) -> Float[Tensor, ""]:
    r"""Linear centred kernel alignment: do both arrange the samples alike, up to rotation and scale?

    With columns centred, a_i = ‖x_i‖² and b_i = ‖y_i‖²:

    .. math:: \mathrm{CKA} = \frac{h(X, Y)}{\sqrt{h(X, X)\, h(Y, Y)}}, \qquad
              h(X, Y) = \|X^\top Y\|_F^2 - \frac{n}{n-2} \sum_i a_i b_i
                        + \frac{\sum_i a_i \sum_i b_i}{(n-1)(n-2)}

    h is n (n − 3) times the unbiased estimate of HSIC, so that the value does not depend on how many samples are
    taken: the plain form, :math:`h = \|X^\top Y\|_F^2`, is 0.39 for two sets of independent normal features with
    n = 200 and 128 columns, this one 0 on average. It may be a little below zero.

    Source: Kornblith, Norouzi, Lee, Hinton. Similarity of neural network representations revisited. ICML 2019.
    https://arxiv.org/abs/1905.00414; h without bias: Song, Smola, Gretton, Bedo, Borgwardt. Feature selection via
    dependence maximization. JMLR 13, 2012.

    Args:
        student: one row a sample.
        teacher: one row for each of the same samples.
        debiased: whether h is the unbiased estimate; the plain form is what most papers print.

    Returns:
        At most about 1, in float64; NaN where all rows of one are the same, which are alike to nothing.

    Raises:
        ShapeError: if the two are not rows of the same samples, at least 4 (2 for the plain form).

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
        >>> turned = 7 * x.flip(1) + 100
        >>> round(linear_cka(x, turned).item(), 6)
        1.0
        >>> linear_cka(x, torch.ones(5, 3))
        tensor(nan, dtype=torch.float64)
    """
    check_paired_rows(student, teacher, at_least=4 if debiased else 2)
    x, y = _centred(student), _centred(teacher)
    with without_autocast(x):
        # A root each: the product of two estimates below zero would pass for a positive number.
        return _alignment(x, y, debiased) / (_alignment(x, x, debiased).sqrt() * _alignment(y, y, debiased).sqrt())


def _centred(x: Tensor) -> Tensor:
    """Columns of mean zero, divided by their largest entry; zero where they are constant."""
    x = x.double()
    centred = x - x.mean(0)
    spread = centred.abs().amax()
    varies = spread > _COLLAPSED * x.abs().amax()
    return torch.where(varies, centred / torch.where(varies, spread, 1.0), 0.0)


def _alignment(x: Tensor, y: Tensor, debiased: bool) -> Tensor:
    n = len(x)
    # Both are the same number; the smaller product is taken.
    products = (x @ x.T) * (y @ y.T) if n < min(x.shape[1], y.shape[1]) else (x.T @ y).square()
    if not debiased:
        return products.sum()
    a, b = x.square().sum(1), y.square().sum(1)
    return products.sum() - n / (n - 2) * (a * b).sum() + a.sum() * b.sum() / ((n - 1) * (n - 2))


@torch.no_grad()
def correlation_gap(
    student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"], *, block: int = 1024
) -> Float[Tensor, " n"]:
    r"""How far the correlations between samples are from the teacher's: CKD says that it brings them near.

    .. math:: g_i = \frac1{n-1} \sum_{j \ne i} |\rho(s_i, s_j) - \rho(t_i, t_j)|

    ρ is Pearson's correlation of the outputs of two samples over the classes. A sample whose outputs are all the
    same has correlation zero with every other. The n × n matrices are never held, only ``block`` rows of them.

    Source of the claim: Wilf et al. Comparative Knowledge Distillation. WACV 2025. https://arxiv.org/abs/2311.02253

    Args:
        student: outputs, such as logits; the classes of the two may differ.
        teacher: outputs for the same samples.
        block: rows of the matrices at a time.

    Returns:
        One gap a sample, in [0, 2], zero where the correlations agree; the mean is the figure. No gradient.

    Raises:
        ShapeError: if the two are not rows of the same samples, at least 2.
        ConfigError: if ``block`` is below 1.

    Example:
        >>> teacher = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        >>> correlation_gap(teacher[[0, 2, 2]], teacher)  # a pair of samples correlates by 1 or by −½
        tensor([0.7500, 1.5000, 0.7500])
    """
    check_paired_rows(student, teacher, at_least=2)
    if block < 1:
        raise ConfigError(f"block must be at least 1, got {block}")
    ours, theirs = (unit_rows(x - x.mean(1, keepdim=True)) for x in upcast_both(student, teacher))
    gaps = []
    with without_autocast(ours):
        for rows in torch.split(torch.arange(len(ours), device=ours.device), block):
            gap = (ours[rows] @ ours.T - theirs[rows] @ theirs.T).abs_()
            gap[torch.arange(len(rows), device=rows.device), rows] = 0  # a sample is not compared with itself
            gaps.append(gap.sum(1))
    return torch.cat(gaps) / (len(ours) - 1)
