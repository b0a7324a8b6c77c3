"""AB: the student's neurons are active where the teacher's are, by a margin.

Letters: n samples; the trailing dimensions are free.
Source: Heo, Lee, Yun, Choi. Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons.
AAAI 2019. https://arxiv.org/abs/1811.03233
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_shapes, check_positive
from tutelage.ops.precision import upcast_both

__all__ = ["activation_boundary"]


def activation_boundary(
    student: Float[Tensor, "n ..."], teacher: Float[Tensor, "n ..."], *, margin: float = 1.0
) -> Float[Tensor, " n"]:
    r"""Squared hinge on the side of zero where the teacher's activations are.

    Over all D numbers of a sample, with the margin m:

    .. math:: \ell_i = \sum_{j=1}^{D} \max(0, m - \sigma_{ij} s_{ij})^2, \qquad
              \sigma_{ij} = \begin{cases} 1 & t_{ij} > 0 \\ -1 & \text{else} \end{cases}

    Only the signs of the teacher's activations count, so that its features before and behind a ReLU are the same to
    this loss. The sum over the features, to which the weight of 0.003 belongs, is that of the authors' code.

    Args:
        student: features of the student before a ReLU, after the connector that gives them the teacher's shape.
        teacher: features of the teacher for the same samples; no gradient flows there.
        margin: m; 1 in the authors' code.

    Returns:
        One loss per sample, zero where every number of the student is on the teacher's side of zero by the margin; at
        least float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the shapes differ or have no dimension beside the samples.
        ConfigError: if ``margin`` is not above zero: a student of zeros would then lose nothing.

    Example:
        >>> activation_boundary(torch.tensor([[2.0, -3.0], [0.5, 1.0]]), torch.tensor([[0.1, 0.0], [7.0, -7.0]]))
        tensor([0.0000, 4.2500])
    """
    check_positive(margin=margin)
    check_paired_shapes(student, teacher)
    ours, theirs = upcast_both(student, teacher.detach())
    side = torch.where(theirs > 0, ours, -ours)
    return (margin - side).clamp_min(0).square().flatten(1).sum(1)
