"""FitNet: the student's features match the teacher's, number by number.

Letters: n samples; the trailing dimensions are free.
Source: Romero et al. FitNets: Hints for Thin Deep Nets. ICLR 2015. https://arxiv.org/abs/1412.6550
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both

__all__ = ["fitnet"]


def fitnet(student_features: Float[Tensor, "n ..."], teacher_features: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    r"""Mean squared gap of the features.

    .. math:: \ell_i = \tfrac1D \sum_{j=1}^{D} (s_{ij} - t_{ij})^2

    The paper sums and halves; the mean over all D numbers of a sample is what the comparisons use
    (RepDistiller, mdistiller), and what the weight of 100 belongs to.

    Args:
        student_features: features of the student, after the connector that gives them the teacher's shape.
        teacher_features: features of the teacher for the same samples; no gradient flows there.

    Returns:
        One loss per sample, zero where the features are equal; at least float32.

    Raises:
        ShapeError: if the shapes differ or have no dimension beside the samples.

    Example:
        >>> import torch
        >>> fitnet(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        tensor([2., 0.])
    """
    check_paired_shapes(student_features, teacher_features)
    ours, theirs = upcast_both(student_features, teacher_features.detach())
    return F.mse_loss(ours, theirs, reduction="none").flatten(1).mean(1)
