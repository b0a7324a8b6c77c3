"""DIST: correlation, not equality, of the answers: within a sample and within a class.

Letters: n samples, k classes, r rows, d numbers a row.
Source: Huang, You, Wang, Qian, Xu. Knowledge Distillation from A Stronger Teacher. NeurIPS 2022.
https://arxiv.org/abs/2205.10536
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_non_negative, check_paired_logits, check_paired_rows, check_positive
from tutelage.ops.precision import upcast_both
from tutelage.ops.standardize import centred_units

__all__ = ["dist"]


def dist(
    student_logits: Float[Tensor, "n k"],
    teacher_logits: Float[Tensor, "n k"],
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Float[Tensor, " n"]:
    r"""One minus Pearson's correlation of the probabilities, over classes and over samples.

    With p and q the softened probabilities of teacher and student, row i the sample and column c the class:

    .. math:: \ell_i = \tau^2 \big( \beta (1 - \rho(q_{i\cdot}, p_{i\cdot}))
              + \tfrac{\gamma}{k} \sum_c (1 - \rho(q_{\cdot c}, p_{\cdot c})) \big)

    The second part belongs to the batch and is the same for every sample. It is computed as half the squared
    distance of the standardised rows, which is exactly zero for equal ones. Where a row or column is constant to
    the last bits it has no correlation: it counts as one, or as zero if both are, and sends back no gradient.

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher for the same samples and classes; no gradient flows there.
        beta: weight of the correlation within a sample; 1 in the authors' class (2 in their recipe).
        gamma: weight of the correlation within a class; as ``beta``.
        temperature: τ, how much both are softened; 1 on ImageNet, 4 on CIFAR-100.

    Returns:
        One loss per sample, zero where both parts agree; at least float32.

    Raises:
        ShapeError: if the two are not ``(n, k)`` of one shape with at least two samples and two classes.
        ConfigError: if the temperature is not above zero, or a weight is negative.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
        >>> dist(teacher + 5, teacher), dist(teacher.flip(0), teacher, gamma=0.0)
        (tensor([0., 0.]), tensor([1.8671, 1.8671]))
    """
    check_paired_logits(student_logits, teacher_logits)
    check_paired_rows(student_logits, teacher_logits, at_least=2)
    check_positive(temperature=temperature)
    check_non_negative(beta=beta, gamma=gamma)
    ours, theirs = upcast_both(student_logits, teacher_logits.detach())
    ours, theirs = (ours / temperature).softmax(1), (theirs / temperature).softmax(1)
    within_class = _decorrelation(ours.T, theirs.T).mean()
    return temperature**2 * (beta * _decorrelation(ours, theirs) + gamma * within_class)


def _decorrelation(a: Float[Tensor, "r d"], b: Float[Tensor, "r d"]) -> Float[Tensor, " r"]:
    """1 − ρ of each row."""
    (u, u_varies), (v, v_varies) = centred_units(a), centred_units(b)
    return 0.5 * ((u - v).square().sum(1) + (u_varies != v_varies))
