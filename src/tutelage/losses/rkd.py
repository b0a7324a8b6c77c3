"""RKD: the student's distances and angles between samples match the teacher's.

Letters: n samples, ds and dt features of student and teacher.
Source: Park, Kim, Lu, Cho. Relational Knowledge Distillation. CVPR 2019. https://arxiv.org/abs/1904.05068
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.angles import angle_gap
from tutelage.ops.checks import check_paired_rows, check_positive
from tutelage.ops.distances import distances
from tutelage.ops.precision import upcast_both

__all__ = ["rkd_angle", "rkd_distance"]


def rkd_distance(
    student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"], *, delta: float = 1.0
) -> Float[Tensor, " n"]:
    r"""Huber gap between the pairwise distances of student and teacher.

    Both sets of distances are divided by their own mean, so size and place do not count:

    .. math:: \ell_i = \tfrac1n \sum_j h_\delta(\|s_i - s_j\| / \mu_s - \|t_i - t_j\| / \mu_t), \quad
              \mu = \tfrac{1}{n (n - 1)} \sum_{i \ne j} d_{ij}

    The mean μ is over all pairs of two samples, also those that coincide: the authors' code selects the
    distances above zero, after it has raised those of coincident pairs to 1e-6. The sum over j includes
    j = i, as theirs does. Where all students coincide there is no unit: their distances count as zero, and
    the gradient is zero.

    Args:
        student: one feature row a sample.
        teacher: one feature row for each of the same samples, of any width; no gradient flows there.
        delta: gap at which Huber's parabola becomes a line; 1 in the authors' code.

    Returns:
        One loss per sample, zero where the distances agree up to a common factor; at least float32. The mean
        is the loss of the paper.

    Raises:
        ShapeError: if the two are not matrices with the same number of rows, at least 2.
        ConfigError: if ``delta`` is not above zero.

    Example:
        >>> teacher = torch.tensor([[0.0], [1.0], [2.0]])
        >>> rkd_distance(10 * teacher, teacher), rkd_distance(teacher.square(), teacher)
        (tensor([0., 0., 0.]), tensor([0.0234, 0.0469, 0.0234]))
    """
    check_paired_rows(student, teacher, at_least=2)
    check_positive(delta=delta)
    ours, theirs = upcast_both(student, teacher.detach())
    ours, theirs = _mean_one(distances(ours)), _mean_one(distances(theirs))
    return F.huber_loss(ours, theirs, reduction="none", delta=delta).mean(1)


def rkd_angle(
    student: Float[Tensor, "n ds"], teacher: Float[Tensor, "n dt"], *, delta: float = 1.0
) -> Float[Tensor, " n"]:
    r"""Huber gap between the angles that all triplets of samples form.

    .. math:: \ell_i = \tfrac{1}{n^2} \sum_{j,k} h_\delta(\cos \angle s_j s_i s_k - \cos \angle t_j t_i t_k)

    The sum includes triplets with equal samples, as the authors' does; they add nothing. Samples that
    coincide have no direction: the cosine is zero, as in the authors' code, but so is its gradient (theirs
    reaches 2e9). The n³ cosines come from the distances alone and are never all in memory, see
    :func:`tutelage.ops.angles.angle_gap`.

    Args:
        student: one feature row a sample.
        teacher: one feature row for each of the same samples, of any width; no gradient flows there.
        delta: gap of cosines at which Huber's parabola becomes a line; 1 in the authors' code.

    Returns:
        One loss per sample, the vertex of its angles; zero where the angles agree; at least float32. The mean
        is the loss of the paper.

    Raises:
        ShapeError: if the two are not matrices with the same number of rows, at least 3.
        ConfigError: if ``delta`` is not above zero.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [2.0]])
        >>> right = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> rkd_angle(2 * right, right), rkd_angle(line, right)
        (tensor([0., 0., 0.]), tensor([0.1111, 0.2682, 0.0095]))
    """
    check_paired_rows(student, teacher, at_least=3)
    check_positive(delta=delta)
    ours, theirs = upcast_both(student, teacher.detach())
    return angle_gap(distances(ours), distances(theirs), delta=delta)


def _mean_one(d: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Distances in units of their mean over all pairs; zero where all are zero."""
    n = d.shape[0]
    mean = d.sum() / (n * (n - 1))
    return d / torch.where(mean > 0, mean, 1.0)
