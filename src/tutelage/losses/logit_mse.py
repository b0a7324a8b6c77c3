"""Logit MSE: the student's logits match the teacher's, number by number.

Letters: n samples, k classes.
Source: Ba, Caruana. Do Deep Nets Really Need to be Deep? NeurIPS 2014. https://arxiv.org/abs/1312.6184
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_logits
from tutelage.ops.precision import upcast_both

__all__ = ["logit_mse"]


def logit_mse(student_logits: Float[Tensor, "n k"], teacher_logits: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    r"""Mean squared gap of the logits.

    .. math:: \ell_i = \tfrac1k \sum_{c=1}^{k} (z^S_{ic} - z^T_{ic})^2

    The control of :func:`tutelage.losses.all_pairs`, which is this without the part of the gap that all samples
    of the batch share. The paper sums and halves.

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher for the same samples and classes; no gradient flows there.

    Returns:
        One loss per sample, zero where the logits are equal; at least float32.

    Raises:
        ShapeError: if the two are not ``(n, k)`` of one shape with at least two classes.

    Example:
        >>> import torch
        >>> logit_mse(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        tensor([2., 0.])
    """
    check_paired_logits(student_logits, teacher_logits)
    ours, theirs = upcast_both(student_logits, teacher_logits.detach())
    return F.mse_loss(ours, theirs, reduction="none").mean(1)
