"""OFD: the student's features follow the teacher's where these are positive, and stay low where they are not.

Letters: n samples, c channels; the trailing dimensions are free.
Source: Heo, Kim, Yun, Park, Kwak, Choi. A Comprehensive Overhaul of Feature Distillation. ICCV 2019.
https://arxiv.org/abs/1904.01866
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both

__all__ = ["overhaul"]


def overhaul(
    student: Float[Tensor, "n c ..."], teacher: Float[Tensor, "n c ..."], margin: Float[Tensor, " c"]
) -> Float[Tensor, " n"]:
    r"""Partial squared gap to the teacher's features, which end at a margin below zero.

    With :math:`T = \max(t, m)`, m the margin of the channel, over all D numbers of a sample:

    .. math:: \ell_i = \sum_{j=1}^{D} \begin{cases} 0 & s_{ij} \le T_{ij} \le 0 \\
              (s_{ij} - T_{ij})^2 & \text{else} \end{cases}

    The sum over the features, to which the weight of 1e-3 belongs, is that of the authors' code.

    Args:
        student: features of the student after the connector that gives them the teacher's channels.
        teacher: features of the teacher for the same samples, before their ReLU where they can be had; no gradient
            flows there.
        margin: of each channel, not above zero: the mean of the teacher's negative activations.

    Returns:
        One loss per sample, zero where the student equals the teacher or both are below zero enough; at least
        float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the features differ in shape or have no channels, or the margins are not one a channel.

    Example:
        >>> teacher = torch.tensor([[2.0, -3.0], [2.0, -3.0]])
        >>> overhaul(torch.tensor([[1.0, -5.0], [2.0, 1.0]]), teacher, torch.tensor([-1.0, -1.0]))
        tensor([1., 4.])
    """
    check_paired_shapes(student, teacher)
    channels = student.shape[1]
    if margin.shape != (channels,):
        raise ShapeError(f"margin must be one number a channel, ({channels},), got {tuple(margin.shape)}: match it")
    ours, theirs = upcast_both(student, teacher.detach())
    lowest = margin.detach().to(ours.dtype).reshape(1, channels, *[1] * (ours.dim() - 2))
    aim = torch.maximum(theirs, lowest)
    gap = (ours - aim).square()
    return torch.where((ours > aim) | (aim > 0), gap, 0.0).flatten(1).sum(1)
