"""REFILLED's second stage: a teacher of any classes as a classifier of those that a batch holds.

Its first stage is in :mod:`tutelage.losses.tuple_matching`.

Letters: n samples, k classes of the student, c classes of the teacher.
Source: Ye, Lu, Zhan. Generalized Knowledge Distillation via Relationship Matching. TPAMI 2022.
https://arxiv.org/abs/2205.01915
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_logits, check_positive
from tutelage.ops.divergences import kl
from tutelage.ops.precision import upcast, upcast_both

__all__ = ["adaptive_weights", "local_classifier"]


def local_classifier(
    student_logits: Float[Tensor, "n k"],
    teacher_scores: Float[Tensor, "n k"],
    present: Bool[Tensor, " k"],
    weights: Float[Tensor, " n"],
    *,
    temperature: float = 1.0,
    student_temperature: float = 1.0,
) -> Float[Tensor, " n"]:
    r"""Weighted divergence of the student from the teacher's scores, over the classes of the batch alone.

    .. math:: \ell_i = w_i \, \mathrm{KL}\!\left( \mathrm{softmax}_P(s_i / \tau) \,\|\,
              \mathrm{softmax}_P(z_i / \tau_S) \right), \qquad s_{ik} = \varphi_T(x_i) \cdot c_k

    P is the set of classes present; the c are the teacher's class centres, of length one, and its embedding φ is as it
    is. Neither side has a factor τ². What stands in the columns of absent classes does not count.

    Args:
        student_logits: class scores of the student.
        teacher_scores: the teacher's score of each sample for each of the student's classes; no gradient flows there.
        present: which classes the batch holds, at least one.
        weights: w, as of :func:`adaptive_weights`, or ones; no gradient flows there.
        temperature: τ of the teacher; 1 in the authors' code (njulus/GKD@a37fc79).
        student_temperature: τ_S; 1 there, and 2 for both in njulus/ReFilled@be649aa.

    Returns:
        One loss per sample, zero where student and teacher agree on the classes present; at least float32.

    Raises:
        ShapeError: if the four do not belong together, or (checked on the CPU) no class is present.
        ConfigError: if a temperature is not above zero.

    Example:
        >>> student, teacher = torch.tensor([[2.0, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, 5.0]])
        >>> present, weights = torch.tensor([True, True, False]), torch.tensor([0.5])
        >>> local_classifier(student, teacher, present, weights)  # half the divergence of (2, 0) from (0, 0)
        tensor([0.2169])
    """
    check_paired_logits(student_logits, teacher_scores)
    check_positive(temperature=temperature, student_temperature=student_temperature)
    _check_company(present, weights, student_logits)
    ours, theirs = upcast_both(student_logits, teacher_scores.detach())
    ours, theirs = (
        (scores / softer).masked_fill(~present, -torch.inf)
        for scores, softer in ((ours, student_temperature), (theirs, temperature))
    )
    return weights.detach() * kl(theirs, ours)


def adaptive_weights(teacher_logits: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    r"""How much of each sample the teacher knows, by its own classifier on its own classes.

    .. math:: u_i = -\log \max_k p_T(k \mid x_i), \qquad
              \hat u_i = \frac{u_i - \min u}{\max u - \min u}, \qquad w_i = 2 \sigma(-\hat u_i)

    Args:
        teacher_logits: over the classes of the teacher, whatever those of the student are.

    Returns:
        From 0.5379 (the sample of the batch that it is least sure of) to 1 (most sure); 1 for all where it is equally
        sure of all. At least float32, without gradient.

    Raises:
        ShapeError: if the logits are not ``(n, c)`` with at least two classes.

    Example:
        >>> adaptive_weights(torch.tensor([[9.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
        tensor([1.0000, 0.7778, 0.5379])
    """
    check_paired_logits(teacher_logits, teacher_logits)
    logits = upcast(teacher_logits.detach())
    top, place = logits.max(1, keepdim=True)
    # Without the one that is taken out here, a doubt below 1e-7 would round to zero in float32.
    doubt = (logits - top).scatter(1, place, -torch.inf).exp().sum(1).log1p()
    least, most = doubt.aminmax()
    spread = most - least
    share = (doubt - least) / torch.where(spread > 0, spread, 1.0)
    return 2 * torch.sigmoid(-share)


def _check_company(present: Tensor, weights: Tensor, logits: Tensor) -> None:
    n, k = logits.shape
    if present.shape != (k,) or present.dtype != torch.bool or present.device != logits.device:
        raise ShapeError(
            f"present must be one bool a class on {logits.device}, ({k},), got {tuple(present.shape)} {present.dtype} "
            f"on {present.device}: mark the classes of the batch's labels"
        )
    if weights.shape != (n,) or not weights.is_floating_point() or weights.device != logits.device:
        raise ShapeError(
            f"weights must be one floating-point number a sample on {logits.device}, ({n},), got "
            f"{tuple(weights.shape)} {weights.dtype} on {weights.device}: give adaptive_weights, or ones"
        )
    # An accelerator would have to wait for the answer.
    if present.device.type == "cpu" and not bool(present.any()):
        raise ShapeError("at least one class must be present, got none: mark the classes of the batch's labels")
