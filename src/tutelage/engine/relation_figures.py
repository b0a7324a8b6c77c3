"""Figures of how samples relate in what networks say of them: neighbours, agreement, calibration.

Each figure waits for the accelerator: they are taken once, of a finished run, when nothing trains.

Letters: n samples, d features, k neighbours, c classes, m bins.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError, InputError
from tutelage.memory import nearest, recall
from tutelage.memory.search import hide_places
from tutelage.ops.checks import check_labels, check_paired_logits
from tutelage.ops.precision import upcast
from tutelage.ops.units import unit_rows

__all__ = ["BINS", "agreement", "calibration_error", "class_purity", "nearest_samples", "neighbour_overlap"]

BINS = 15
"""Bins of the calibration error: 15 of equal width, as Guo et al. (2017) have it."""


def nearest_samples(features: Float[Tensor, "n d"], k: int) -> Int64[Tensor, "n k"]:
    """The rows of the k most similar other samples by cosine, nearest first; exact, ties go to the lower row.

    Args:
        features: One row a sample. A row of zeros has cosine 0 with all.
        k: How many, below n.

    Raises:
        ConfigError: if there are not k other samples.
        InputError: if features are not finite.

    Example:
        >>> nearest_samples(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), 1).flatten()
        tensor([1, 0, 1])
    """
    if not 1 <= k < len(features):
        raise ConfigError(f"k must be from 1 to {len(features) - 1}, one below the number of samples, got {k}")
    if not bool(features.isfinite().all()):
        raise InputError("features must be finite, and some are not: the network diverged")
    rows = unit_rows(upcast(features))
    return nearest(rows, rows, k, hide=hide_places(torch.arange(len(rows), device=rows.device)))[1]


def neighbour_overlap(student: Int64[Tensor, "n k"], teacher: Int64[Tensor, "n k"]) -> float:
    r"""Mean share of the teacher's k nearest that are among the student's k nearest.

    .. math:: \tfrac{1}{nk} \sum_i |N_S(i) \cap N_T(i)|

    By chance it is k / (n − 1), so values of other k or n do not compare.

    Source: the mutual k-nearest-neighbour metric of Huh, Cheung, Wang, Isola. The Platonic representation
    hypothesis. ICML 2024. https://arxiv.org/abs/2405.07987

    Args:
        student: What :func:`nearest_samples` finds by the student's features.
        teacher: The same by the teacher's.

    Raises:
        ShapeError: if the two lists are not of one shape.

    Example:
        >>> neighbour_overlap(torch.tensor([[1, 2], [0, 2]]), torch.tensor([[2, 3], [2, 0]]))
        0.75
    """
    return recall(student, teacher)


def class_purity(found: Int64[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> float:
    r"""Mean share of the k nearest that have the label of the sample.

    .. math:: \tfrac{1}{nk} \sum_i |\{j \in N(i) : y_j = y_i\}|

    Source: the precision at k of retrieval, over all samples. With fewer than k others in a class it stays below 1.

    Args:
        found: What :func:`nearest_samples` finds.
        labels: Class of each sample.

    Example:
        >>> class_purity(torch.tensor([[1, 2], [0, 2], [0, 1]]), torch.tensor([0, 0, 1]))
        0.3333333333333333
    """
    return (labels[found] == labels.unsqueeze(1)).double().mean().item()


def agreement(student_logits: Float[Tensor, "n c"], teacher_logits: Float[Tensor, "n c"]) -> float:
    r"""Share of the samples for which both name the same class, rightly or wrongly.

    .. math:: \tfrac1n \sum_i [\arg\max_c s_{ic} = \arg\max_c t_{ic}]

    Source: average top-1 agreement, Stanton, Izmailov, Kirichenko, Alemi, Wilson. Does knowledge distillation really
    work? NeurIPS 2021. https://arxiv.org/abs/2106.05945

    Args:
        student_logits: Class scores.
        teacher_logits: Class scores for the same samples and classes.

    Raises:
        ShapeError: if the two are not of one shape.

    Example:
        >>> agreement(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0]]))
        0.5
    """
    check_paired_logits(student_logits, teacher_logits)
    return (student_logits.argmax(1) == teacher_logits.argmax(1)).double().mean().item()


def calibration_error(logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"], *, bins: int = BINS) -> float:
    r"""Expected calibration error: how far confidence is from accuracy, at temperature 1.

    .. math:: \mathrm{ECE} = \sum_m \frac{|B_m|}{n} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|

    B_m holds the samples whose highest probability lies in ((m − 1)/M, m/M]: M bins of equal width.

    Source: Guo, Pleiss, Sun, Weinberger. On calibration of modern neural networks. ICML 2017.
    https://arxiv.org/abs/1706.04599

    Args:
        logits: Class scores.
        labels: True class of each sample.
        bins: M.

    Returns:
        Between 0 and 1; 0 for a network that is right as often as it says.

    Raises:
        ShapeError: if the labels are not one class a sample.
        ConfigError: if there is no bin.

    Example:
        >>> sure = torch.tensor([[99.0, 0.0], [99.0, 0.0]])
        >>> calibration_error(sure, torch.tensor([0, 1]))
        0.5
    """
    check_paired_logits(logits, logits)
    check_labels(labels, logits)
    if bins < 1:
        raise ConfigError(f"a calibration error needs at least 1 bin, got {bins}")
    confidence, named = logits.double().softmax(1).max(1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    # |B| |acc − conf| is the size of the summed difference in the bin.
    gaps = confidence.new_zeros(bins).index_add_(0, place, (named == labels).double() - confidence)
    return (gaps.abs().sum() / len(logits)).item()
