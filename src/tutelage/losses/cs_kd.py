"""CS-KD: a sample learns from what the student itself says of another sample of the same class.

Letters: n samples, k classes.
Source: Yun, Park, Lee, Shin. Regularizing Class-wise Predictions via Self-knowledge Distillation. CVPR 2020.
https://arxiv.org/abs/2003.13964
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_logits, check_positive
from tutelage.ops.divergences import softened_kl
from tutelage.ops.precision import upcast_both

__all__ = ["cs_kd"]


def cs_kd(
    student_logits: Float[Tensor, "n k"], partner_logits: Float[Tensor, "n k"], *, temperature: float = 4.0
) -> Float[Tensor, " n"]:
    r"""Divergence of a sample's softened answer from its partner's, both by the student.

    With x' a sample drawn from those of the class of x (x itself among them):

    .. math:: \ell_i = \tau^2 \, \mathrm{KL}\!\left(
              \mathrm{softmax}(z(x'_i) / \tau) \,\|\, \mathrm{softmax}(z(x_i) / \tau) \right)

    The formula is KD's, the partner in the place of the teacher. In the authors' code the partners pass the network
    in training mode, without gradient, as a batch of their own.

    Args:
        student_logits: class scores of the student.
        partner_logits: the student's class scores of another sample of each one's class; no gradient flows there.
        temperature: τ, how much both are softened; 4 in the paper.

    Returns:
        One loss per sample, zero where both give the same distribution; at least float32.

    Raises:
        ShapeError: if the two are not ``(n, k)`` of one shape with at least two classes.
        ConfigError: if the temperature is not above zero.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0], [8.0, 0.0]])
        >>> cs_kd(logits, logits.flip(0))
        tensor([5.2450, 6.9405])
    """
    check_paired_logits(student_logits, partner_logits)
    check_positive(temperature=temperature)
    ours, theirs = upcast_both(student_logits, partner_logits.detach())
    return softened_kl(theirs, ours, temperature)
