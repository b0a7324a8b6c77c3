"""REFILLED's first stage: of which negatives is an anchor nearer to its positive, and by how much?

Letters: n samples, ds and dt features of student and teacher, t tuples, k negatives of a tuple, m triplets.
Source: Ye, Lu, Zhan. Generalized Knowledge Distillation via Relationship Matching. TPAMI 2022.
https://arxiv.org/abs/2205.01915; the triplets are those of their Distilling Cross-Task Knowledge via Relationship
Matching. CVPR 2020.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_rows, check_positive
from tutelage.ops.distances import distances
from tutelage.ops.divergences import kl
from tutelage.ops.mining import SemiHard, chosen_negatives, listed_pairs, listed_triplets, semi_hard
from tutelage.ops.precision import upcast_both
from tutelage.ops.units import unit_rows

__all__ = ["Matches", "matched_triplets", "matched_tuples", "triplet_matching", "tuple_matching"]


class Matches(NamedTuple):
    """Losses of comparisons, of which some may not exist: an accelerator need not wait for their number.

    Attributes:
        loss: One value a comparison, zero where there is none.
        present: Which of them exist.
    """

    loss: Float[Tensor, " t"]
    present: Bool[Tensor, " t"]

    def mean(self) -> Float[Tensor, ""]:
        """Over those that exist: the loss of the paper; zero, with zero gradient, where there is none."""
        return self.loss.sum() / self.present.sum().clamp(min=1)

    def listed(self) -> Float[Tensor, " t"]:
        """Those that exist; a single zero, with zero gradient, where there is none. Waits for an accelerator."""
        there = self.loss[self.present]
        return there if len(there) else self.loss.sum().unsqueeze(0)


def tuple_matching(
    student_embeddings: Float[Tensor, "n ds"],
    teacher_embeddings: Float[Tensor, "n dt"],
    labels: Int64[Tensor, " n"],
    *,
    margin: float = 0.2,
    temperature: float = 4.0,
    max_negatives: int = 32,
    fewest: bool = False,
) -> Float[Tensor, " t"]:
    r"""Divergence of the student's from the teacher's distribution over a positive and its semi-hard negatives.

    The student mines: of an anchor a and a positive p of its class, the negatives are those samples of other classes
    that its own unit embeddings s put beyond p by at most the margin. The teacher weighs:

    .. math:: \ell_{ap} = \mathrm{KL}\!\left( \mathrm{softmax}(-d^T_{a \cdot} / \tau) \,\|\,
              \mathrm{softmax}(-d^S_{a \cdot} / \tau) \right) \quad \text{over } \{p\} \cup N_{ap}, \qquad
              N_{ap} = \{ n : y_n \ne y_a, \; d^S_{ap} < d^S_{an} \le d^S_{ap} + m \}

    with d the Euclidean distance of embeddings of length one. Only distances count: the widths may differ, and neither
    side's rotation nor the length of a row matters.

    Of more than ``max_negatives`` those are taken that are spread evenly over the order of their distances, see
    :func:`tutelage.ops.mining.chosen_negatives`. Memory is that of n² distances, and of ``max_negatives`` numbers a
    tuple.

    Args:
        student_embeddings: one row a sample.
        teacher_embeddings: one row for each of the same samples, of any width; no gradient flows there.
        labels: class of each sample.
        margin: m, in distances of unit vectors; 0.2 in the authors' code.
        temperature: τ of both; 4 in the authors' code.
        max_negatives: most negatives of a tuple; all with ``len(labels)``, as in the authors' code of 2021
            (njulus/ReFilled@be649aa).
        fewest: give every tuple as many negatives as the one with the fewest has, as in their code of 2022
            (njulus/GKD@a37fc79, which takes the first in the order of its miner).

    Returns:
        One loss a tuple, anchor by anchor, in at least float32; zero where the distances agree. The mean is the loss of
        the paper, up to its factor of 1000. A batch without a tuple gives a single zero, which has no gradient.

    Raises:
        ShapeError: if the embeddings are not rows of the same samples, or labels not one int64 number for each.
        ConfigError: if a setting is not above zero.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> student = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.7, 0.7], [-1.0, 0.0]])
        >>> teacher = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-0.9, 0.1]])
        >>> tuple_matching(student, teacher, labels)  # (0; 1; 2) and (3; 2; 1, 0): anchor, positive, negatives
        tensor([0.0234, 0.0239])
        >>> tuple_matching(student, student, labels)
        tensor([0., 0.])
    """
    return matched_tuples(
        student_embeddings,
        teacher_embeddings,
        labels,
        margin=margin,
        temperature=temperature,
        max_negatives=max_negatives,
        fewest=fewest,
    ).listed()


def triplet_matching(
    student_embeddings: Float[Tensor, "n ds"],
    teacher_embeddings: Float[Tensor, "n dt"],
    labels: Int64[Tensor, " n"],
    *,
    margin: float = 0.2,
    temperature: float = 4.0,
) -> Float[Tensor, " m"]:
    r"""Divergence of how surely the student puts a positive before a negative, from how surely the teacher does.

    .. math:: \ell_{apn} = \mathrm{KL}(\mathrm{Bernoulli}(p^T_{apn}) \,\|\, \mathrm{Bernoulli}(p^S_{apn})), \qquad
              p_{apn} = \sigma\!\left( (d_{an} - d_{ap}) / \tau \right)

    over the semi-hard triplets of the student: all (a, p, n) whose n is one of the negatives of
    :func:`tuple_matching`, however many there are.

    Args:
        student_embeddings: one row a sample.
        teacher_embeddings: one row for each of the same samples, of any width; no gradient flows there.
        labels: class of each sample.
        margin: m, in distances of unit vectors; 0.2 in the authors' code.
        temperature: τ of both; 4 in the authors' code.

    Returns:
        One loss a triplet, anchor by anchor, in at least float32; zero where the distances agree. The mean is the loss
        of the paper, up to its factor of 500 (the authors write 1000 and a mean over both outcomes). A batch without a
        triplet gives a single zero, which has no gradient.

    Raises:
        ShapeError: if the embeddings are not rows of the same samples, or labels not one int64 number for each.
        ConfigError: if a setting is not above zero.

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> student = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.7, 0.7], [-1.0, 0.0]])
        >>> teacher = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-0.9, 0.1]])
        >>> triplet_matching(student, teacher, labels)  # the second tuple is two triplets
        tensor([0.0234, 0.0254, 0.0228])
    """
    return matched_triplets(
        student_embeddings, teacher_embeddings, labels, margin=margin, temperature=temperature
    ).listed()


def matched_tuples(
    student_embeddings: Float[Tensor, "n ds"],
    teacher_embeddings: Float[Tensor, "n dt"],
    labels: Int64[Tensor, " n"],
    *,
    margin: float = 0.2,
    temperature: float = 4.0,
    max_negatives: int = 32,
    fewest: bool = False,
) -> Matches:
    """The losses of :func:`tuple_matching` without waiting for an accelerator, for a training loop.

    On an accelerator every pair of samples has a place, so that forward and backward take n² · ``max_negatives``
    numbers a tensor, 0.43 GiB in all at n = 512. On the CPU only the tuples have one: 0.1 GiB with ten classes.

    Example:
        >>> found = matched_tuples(torch.eye(3), torch.eye(3), torch.tensor([0, 1, 2]))  # nobody has a positive
        >>> found.mean(), found.present.sum()
        (tensor(0.), tensor(0))
    """
    check_positive(max_negatives=max_negatives)
    ours, theirs, found = _mined(student_embeddings, teacher_embeddings, labels, margin, temperature)
    pairs = listed_pairs(found)
    negatives, exists = chosen_negatives(found, pairs, most=max_negatives, fewest=fewest)
    anchor, positive = pairs.anchor.unsqueeze(1), pairs.positive.unsqueeze(1)
    members = torch.cat([positive, negatives], dim=1)
    left_out = torch.cat([torch.zeros_like(positive, dtype=torch.bool), ~exists], dim=1)
    scores = ((-d[anchor, members] / temperature).masked_fill(left_out, -torch.inf) for d in (ours, theirs))
    student, teacher = scores
    return Matches(kl(teacher, student), found.number[pairs.anchor, pairs.positive] > 0)


def matched_triplets(
    student_embeddings: Float[Tensor, "n ds"],
    teacher_embeddings: Float[Tensor, "n dt"],
    labels: Int64[Tensor, " n"],
    *,
    margin: float = 0.2,
    temperature: float = 4.0,
) -> Matches:
    """The losses of :func:`triplet_matching`, with their number; all that are listed exist.

    An accelerator is waited for once: nothing short of n³ bounds the number of triplets. At n = 512 it is 5.3 million
    for ten classes of untrained embeddings, where forward and backward take 0.5 GiB; 0.5 million for 100 classes.

    Example:
        >>> found = matched_triplets(torch.eye(3), torch.eye(3), torch.tensor([0, 1, 2]))  # nobody has a positive
        >>> found.mean(), found.present.sum()
        (tensor(0.), tensor(0))
    """
    ours, theirs, found = _mined(student_embeddings, teacher_embeddings, labels, margin, temperature)
    anchor, positive, negative = listed_triplets(found)
    student, teacher = ((d[anchor, negative] - d[anchor, positive]) / temperature for d in (ours, theirs))
    # The divergence by the logits of p; by those of both outcomes it takes twice the memory.
    unlikely = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    loss = teacher.sigmoid() * (teacher - student) + unlikely
    return Matches(loss, torch.ones_like(loss, dtype=torch.bool))


def _mined(
    student: Tensor, teacher: Tensor, labels: Tensor, margin: float, temperature: float
) -> tuple[Tensor, Tensor, SemiHard]:
    """Distances of both, and the semi-hard negatives of the student."""
    check_paired_rows(student, teacher)
    check_positive(margin=margin, temperature=temperature)
    _check_classes(labels, student)
    ours, theirs = (distances(unit_rows(x)) for x in upcast_both(student, teacher.detach()))
    return ours, theirs, semi_hard(ours.detach(), labels, margin=margin)


def _check_classes(labels: Tensor, student: Tensor) -> None:
    if labels.shape != student.shape[:1] or labels.dtype != torch.int64 or labels.device != student.device:
        raise ShapeError(
            f"labels must be int64 class numbers on {student.device}, one a sample, ({len(student)},), got "
            f"{tuple(labels.shape)} {labels.dtype} on {labels.device}: use .argmax(1) for one-hot rows, or .long()"
        )
