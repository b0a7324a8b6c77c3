"""KD: the student's softened answers match the teacher's.

Letters: n samples, k classes.
Source: Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. https://arxiv.org/abs/1503.02531
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_logits, check_positive
from tutelage.ops.divergences import softened_kl
from tutelage.ops.precision import upcast_both

__all__ = ["kd"]


def kd(
    student_logits: Float[Tensor, "n k"], teacher_logits: Float[Tensor, "n k"], *, temperature: float = 4.0
) -> Float[Tensor, " n"]:
    r"""Divergence of the softened student from the softened teacher.

    .. math:: \ell_i = \tau^2 \, \mathrm{KL}\!\left(
              \mathrm{softmax}(z^T_i / \tau) \,\|\, \mathrm{softmax}(z^S_i / \tau) \right)

    The factor τ² keeps the size of the gradient when τ changes; it is there for every τ.

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher for the same samples and classes; no gradient flows there.
        temperature: τ, how much both are softened; 4 is what the comparisons on CIFAR-100 use
            (RepDistiller, mdistiller).

    Returns:
        One loss per sample, zero where both give the same distribution; at least float32.

    Raises:
        ShapeError: if the two are not ``(n, k)`` of one shape with at least two classes.
        ConfigError: if the temperature is not above zero.

    Example:
        >>> import torch
        >>> kd(torch.tensor([[0.0, 0.0]]), torch.tensor([[8.0, 0.0]]))
        tensor([5.2450])
    """
    check_paired_logits(student_logits, teacher_logits)
    check_positive(temperature=temperature)
    ours, theirs = upcast_both(student_logits, teacher_logits.detach())
    return softened_kl(theirs, ours, temperature)
