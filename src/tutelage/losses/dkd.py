"""DKD: what the teacher says of the true class, and how it orders the others, weighted apart.

Letters: n samples, k classes.
Source: Zhao, Cui, Song, Qiu, Liang. Decoupled Knowledge Distillation. CVPR 2022. https://arxiv.org/abs/2203.08679
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.ops.checks import check_labels, check_non_negative, check_paired_logits, check_positive
from tutelage.ops.divergences import kl
from tutelage.ops.precision import upcast_both

__all__ = ["dkd"]


def dkd(
    student_logits: Float[Tensor, "n k"],
    teacher_logits: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Float[Tensor, " n"]:
    r"""Divergence on the true class against the rest, and divergence among the rest.

    With p the softened probabilities of the teacher, y the label, and p̂ the probabilities of the other
    classes, made to sum to one (q, q̂: the student's):

    .. math:: \ell_i = \tau^2 \big( \alpha \, \mathrm{KL}\big((p_y, 1 - p_y) \| (q_y, 1 - q_y)\big)
              + \beta \, \mathrm{KL}(\hat p \| \hat q) \big)

    With α = 1 and β = 1 − p_y this is KD. Everything stays in log space: log(1 − q_y) is the logsumexp of the
    other classes minus that of all, so that loss and gradient are finite for a student however confident.
    With two classes the second term is zero: a single other class has no order. (The authors' code takes the
    logarithm of a probability; once the logits are 104 τ apart float32 has rounded it to zero, the loss is
    infinite and its gradient NaN.)

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher for the same samples and classes; no gradient flows there.
        labels: true class of each sample.
        alpha: weight of the first term; 1 in the paper.
        beta: weight of the second; the paper's 8 for CIFAR-100 (2 for ResNet56 → ResNet20).
        temperature: τ, how much both are softened; 4 for CIFAR-100.

    Returns:
        One loss per sample, zero where both give the same distribution; at least float32.

    Raises:
        ShapeError: if the logits are not ``(n, k)`` of one shape with at least two classes, or the labels are
            not ``(n,)`` int64 in ``[0, k)``.
        ConfigError: if the temperature is not above zero, or a weight is negative.

    Example:
        >>> student, teacher = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[8.0, 4.0, 0.0]])
        >>> dkd(student, teacher, torch.tensor([0])), dkd(student, teacher, torch.tensor([0]), beta=0.0)
        (tensor([17.8661]), tensor([3.6652]))
    """
    check_paired_logits(student_logits, teacher_logits)
    check_labels(labels, student_logits)
    check_positive(temperature=temperature)
    check_non_negative(alpha=alpha, beta=beta)
    ours, theirs = upcast_both(student_logits, teacher_logits.detach())
    our_pair, our_rest = _decouple(ours / temperature, labels)
    their_pair, their_rest = _decouple(theirs / temperature, labels)
    return temperature**2 * (alpha * kl(their_pair, our_pair) + beta * kl(their_rest, our_rest))


def _decouple(
    logits: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n k"]]:
    """Logits of (true class, all others together), and of the others with the true class excluded (−∞)."""
    index = labels.unsqueeze(1)
    rest = logits.scatter(1, index, float("-inf"))
    pair = torch.cat([logits.gather(1, index), rest.logsumexp(1, keepdim=True)], dim=1)
    return pair, rest
