"""ReviewKD: the student's map follows the teacher's at full size and at every coarser one.

Letters: n samples, c channels, h height, w width.
Source: Chen, Liu, Zhao, Jia. Distilling Knowledge via Knowledge Review. CVPR 2021. https://arxiv.org/abs/2104.09044
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both

__all__ = ["hierarchical_context"]

_LEVELS = (4, 2, 1)
"""Sides of the pooled maps; those of the authors."""


def hierarchical_context(student: Float[Tensor, "n c h w"], teacher: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    r"""Squared gap of two maps and of their means over ever larger places.

    .. math:: \ell_i = \frac{\sum_{k=0}^{K} 2^{-k} \operatorname{mean} (P_k s_i - P_k t_i)^2}{\sum_{k=0}^{K} 2^{-k}}

    :math:`P_0` leaves a map as it is, :math:`P_1, P_2, …` pool it to 4×4, 2×2 and 1×1, as many of these as are smaller
    than the map. Of a map of one place it is the mean squared gap.

    Args:
        student: map of the student after its fusion module.
        teacher: map of the teacher for the same samples, of the same shape; no gradient flows there.

    Returns:
        One loss per sample, zero where the maps are equal; at least float32. The mean is the loss of the paper for one
        stage.

    Raises:
        ShapeError: if the shapes differ or are not those of maps.

    Example:
        >>> import torch
        >>> teacher = torch.zeros(2, 1, 2, 2)
        >>> hierarchical_context(torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]], [[[1.0, 1.0], [1.0, 1.0]]]]), teacher)
        tensor([0.6667, 1.0000])
    """
    check_paired_shapes(student, teacher)
    if student.dim() != 4:
        raise ShapeError(
            f"features must be maps, (n, channels, height, width), got {tuple(student.shape)}: "
            "give a vector height and width one, [..., None, None]"
        )
    ours, theirs = upcast_both(student, teacher.detach())
    gap = ours - theirs  # pooling is linear: the gap is pooled once instead of both maps
    total, weights = gap.square().mean((1, 2, 3)), 1.0
    smaller = [side for side in _LEVELS if side < min(gap.shape[2:])]
    for level, side in enumerate(smaller, start=1):
        total = total + F.adaptive_avg_pool2d(gap, side).square().mean((1, 2, 3)) / 2**level
        weights += 1 / 2**level
    return total / weights
