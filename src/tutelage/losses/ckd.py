"""CKD: what the student says of the difference between samples is what the teacher says of it.

Letters: n samples, k classes, g groups, p positive and m negative samples a group.
Source: Wilf, Xu, Liang, Obolenskiy, Fried, Morency. Comparative Knowledge Distillation. WACV 2025.
https://arxiv.org/abs/2311.02253
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.checks import check_labels, check_paired_logits, check_paired_rows, check_positive
from tutelage.ops.divergences import softened_kl
from tutelage.ops.precision import upcast, upcast_both

__all__ = ["all_pairs", "comparative", "comparative_labels", "contrast", "contrast_gap"]

_COMPARATORS = {"difference": (1.0, -2.0), "sum": (0.25, 0.5), "mixup": (1 / 3, 1 / 3)}
"""Name: (a, b) of E[(u r_i + v r_j)²] = a r_i² + b r_i r_j + a r_j². For mixup λ ~ U(0, 1): E[λ²] = 2 E[λ(1−λ)] = ⅓."""


def comparative(
    student_logits: Float[Tensor, "n k"],
    teacher_logits: Float[Tensor, "n k"],
    positives: Int64[Tensor, "g p"],
    negatives: Int64[Tensor, "g m"],
    *,
    distance: Literal["kl", "mse"] = "kl",
    temperature: float = 4.0,
) -> Float[Tensor, " g"]:
    r"""Gap between the teacher's and the student's difference of two groups' mean logits.

    With Δ the mean of the positives minus the mean of the negatives:

    .. math:: \ell = \tau^2 \, \mathrm{KL}\big(
              \mathrm{softmax}(\Delta_T / \tau) \,\|\, \mathrm{softmax}(\Delta_S / \tau) \big)
              \quad \text{or} \quad \tfrac1k \|\Delta_S - \Delta_T\|^2

    The softmax of a difference of logits is the ratio of the two distributions, made to sum to one. A vector
    added to all logits of the student changes nothing, so the last bias gets no gradient.

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher for the same samples and classes; no gradient flows there.
        positives: rows of the batch on the one side of each group.
        negatives: rows of the batch on the other side.
        distance: ``"kl"`` as in the paper's first version, ``"mse"`` as in its last.
        temperature: τ of the KL; 4 in the authors' code. The MSE has none.

    Returns:
        One loss per group, zero where the differences agree; at least float32.

    Raises:
        ShapeError: if the logits are not ``(n, k)`` of one shape, or the groups not int64 rows of the batch.
        ConfigError: if the distance is unknown or the temperature not above zero.

    Example:
        >>> student, teacher = torch.zeros(2, 2), torch.tensor([[8.0, 0.0], [0.0, 0.0]])
        >>> comparative(student, teacher, torch.tensor([[0]]), torch.tensor([[1]]))
        tensor([5.2450])
    """
    check_paired_logits(student_logits, teacher_logits)
    both = upcast_both(student_logits, teacher_logits.detach())
    ours, theirs = (contrast(x, positives, negatives) for x in both)
    return contrast_gap(ours, theirs, distance=distance, temperature=temperature)


def comparative_labels(
    student_logits: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    positives: Int64[Tensor, "g p"],
    negatives: Int64[Tensor, "g m"],
    *,
    distance: Literal["kl", "mse"] = "kl",
    temperature: float = 4.0,
) -> Float[Tensor, " g"]:
    """:func:`comparative` with the one-hot labels in the place of the teacher's logits.

    The authors' code has it instead of the cross-entropy of the paper's equation 4. Under KL the aim is a
    softened one: two single samples of different classes ask for differences of ±1 in the logits, no more.

    Args:
        student_logits: class scores of the student.
        labels: true class of each sample.
        positives: rows of the batch on the one side of each group.
        negatives: rows of the batch on the other side.
        distance: as in :func:`comparative`.
        temperature: as in :func:`comparative`.

    Returns:
        One loss per group; at least float32.

    Raises:
        ShapeError: if the labels are not one class a sample, or the groups not int64 rows of the batch.
        ConfigError: if the distance is unknown or the temperature not above zero.

    Example:
        >>> student, labels = torch.tensor([[3.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 1])
        >>> comparative_labels(student, labels, torch.tensor([[0]]), torch.tensor([[1]]), distance="mse")
        tensor([6.5000])
    """
    check_paired_logits(student_logits, student_logits)
    check_labels(labels, student_logits)
    truth = F.one_hot(labels, student_logits.shape[1]).to(student_logits.dtype)
    ours, theirs = (contrast(x, positives, negatives) for x in (student_logits, truth))
    return contrast_gap(ours, theirs, distance=distance, temperature=temperature)


def all_pairs(
    student_logits: Float[Tensor, "n k"],
    teacher_logits: Float[Tensor, "n k"],
    *,
    comparator: Literal["difference", "sum", "mixup"] = "difference",
) -> Float[Tensor, " n"]:
    r"""MSE of :func:`comparative` over all ordered pairs of two samples, in one pass over the batch.

    With r = z_S − z_T:

    .. math:: \ell_i = \frac{1}{n-1} \sum_{j \ne i} \tfrac1k \|r_i - r_j\|^2, \quad
              \tfrac1n \sum_i \ell_i = \tfrac2k \sum_c \mathrm{var}_i(r_{ic})

    (the unbiased variance; with the n pairs of a sample with itself counted too, it would be the biased one).
    It costs n k instead of n² k. The comparators of the ablation compare ½ r_i + ½ r_j, and λ r_i + (1 − λ) r_j
    in the mean over λ uniform in (0, 1), which is Beta(1, 1).

    Args:
        student_logits: class scores of the student.
        teacher_logits: class scores of the teacher (or one-hot labels) for the same samples; no gradient there.
        comparator: what a pair says: ``"difference"``, or the controls ``"sum"`` and ``"mixup"``.

    Returns:
        One loss per sample, over the pairs that begin with it; at least float32.

    Raises:
        ShapeError: if the two are not ``(n, k)`` of one shape with at least two samples and two classes.
        ConfigError: if the comparator is unknown.

    Example:
        >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
        >>> all_pairs(teacher + 7, teacher), all_pairs(torch.zeros(2, 2), teacher)
        (tensor([0., 0.]), tensor([2., 2.]))
    """
    check_paired_logits(student_logits, teacher_logits)
    check_paired_rows(student_logits, teacher_logits, at_least=2)
    if comparator not in _COMPARATORS:
        raise ConfigError(f"comparator must be one of {', '.join(_COMPARATORS)}, got {comparator!r}")
    square, cross = _COMPARATORS[comparator]
    ours, theirs = upcast_both(student_logits, teacher_logits.detach())
    gap = ours - theirs
    pairs = len(gap) - 1
    if comparator == "difference":
        # A shift does not count, and left in it would cancel in float32 only to its rounding.
        squares = (gap - gap.mean(0)).square()
        value = (squares + squares.mean(0)) * (len(gap) / pairs)
    else:
        squares = gap.square()
        mixed = gap * (gap.sum(0) - gap)
        value = square * squares + (cross * mixed + square * (squares.sum(0) - squares)) / pairs
    return value.mean(1)


def contrast(
    x: Float[Tensor, "n ..."],
    positives: Int64[Tensor, "g p"],
    negatives: Int64[Tensor, "g m"],
    *,
    sides: tuple[float, float] = (1.0, -1.0),
) -> Float[Tensor, "g ..."]:
    r"""What a group says: the mean of its positives minus the mean of its negatives.

    .. math:: \Delta = u \, \tfrac1p \sum_{i \in +} x_i + v \, \tfrac1m \sum_{j \in -} x_j, \quad (u, v) = (1, -1)

    Args:
        x: logits, one-hot labels or features of any shape; a gradient flows back.
        positives: rows of the batch on the one side of each group.
        negatives: rows of the batch on the other side.
        sides: u and v; (½, ½) and (λ, 1 − λ) are the sum and the mixup of the paper's ablation.

    Returns:
        One contrast per group, shaped as a sample; at least float32.

    Raises:
        ShapeError: if the groups are not int64 rows of the batch, or not of two sides each.

    Example:
        >>> contrast(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([[0, 1]]), torch.tensor([[2]]))
        tensor([[-7.]])
    """
    _check_groups(positives, negatives, x)
    wide = upcast(x)
    return sides[0] * wide[positives].mean(1) + sides[1] * wide[negatives].mean(1)


def contrast_gap(
    ours: Float[Tensor, "g k"],
    theirs: Float[Tensor, "g k"],
    *,
    distance: Literal["kl", "mse"] = "kl",
    temperature: float = 4.0,
) -> Float[Tensor, " g"]:
    """How far the student's contrasts of logits are from the teacher's: what :func:`comparative` returns.

    Args:
        ours: the student's :func:`contrast` of each group.
        theirs: the teacher's, or that of the one-hot labels; no gradient flows there.
        distance: as in :func:`comparative`.
        temperature: as in :func:`comparative`.

    Returns:
        One loss per group, zero where the contrasts agree; at least float32.

    Raises:
        ShapeError: if the two are not ``(g, k)`` of one shape.
        ConfigError: if the distance is unknown or the temperature not above zero.

    Example:
        >>> contrast_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]), distance="mse")
        tensor([0.5000])
    """
    check_paired_logits(ours, theirs)
    check_positive(temperature=temperature)
    ours, theirs = upcast_both(ours, theirs.detach())
    if distance == "kl":
        return softened_kl(theirs, ours, temperature)
    if distance == "mse":
        return F.mse_loss(ours, theirs, reduction="none").mean(1)
    raise ConfigError(f"distance must be 'kl' or 'mse', got {distance!r}")


def _check_groups(positives: Tensor, negatives: Tensor, x: Tensor) -> None:
    for name, index in (("positives", positives), ("negatives", negatives)):
        if index.dim() != 2 or index.numel() == 0 or index.dtype != torch.int64:
            raise ShapeError(
                f"{name} must be int64 rows of the batch, (groups, samples), got {tuple(index.shape)} {index.dtype}: "
                "give at least one group of at least one sample"
            )
        # An accelerator would have to wait for the answer; it raises by itself when the row is looked up.
        if index.device.type == "cpu" and not bool(((index >= 0) & (index < len(x))).all()):
            raise ShapeError(
                f"{name} must be rows from 0 to {len(x) - 1}, got {int(index.min())} to {int(index.max())}: "
                "index the batch, not the data set"
            )
    if len(positives) != len(negatives):
        raise ShapeError(f"each group needs both sides, got {len(positives)} positives and {len(negatives)} negatives")
