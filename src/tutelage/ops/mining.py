"""Semi-hard negatives: samples of other classes that are a little farther from an anchor than a positive is.

They are found by sorting, so that no tensor of size n³ exists: a pair's negatives stand side by side among the
samples of other classes in the order of their distance to the anchor.

Letters: n samples, t pairs of an anchor and a positive, k negatives of a pair, m triplets.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["Pairs", "SemiHard", "chosen_negatives", "listed_pairs", "listed_triplets", "semi_hard"]


class SemiHard(NamedTuple):
    """The semi-hard negatives of all pairs.

    Attributes:
        order: ``(n, n)`` for each anchor the samples of other classes, nearest first; then all others.
        first: ``(n, n)`` for each anchor and positive the place in ``order`` of the nearest semi-hard negative.
        number: ``(n, n)`` how many there are from that place on; zero where the two are no anchor and positive.
    """

    order: Int64[Tensor, "n n"]
    first: Int64[Tensor, "n n"]
    number: Int64[Tensor, "n n"]


class Pairs(NamedTuple):
    """Pairs of an anchor and a positive, by their places in the batch.

    Attributes:
        anchor: ``(t,)``.
        positive: ``(t,)``.
    """

    anchor: Int64[Tensor, " t"]
    positive: Int64[Tensor, " t"]


@torch.no_grad()
def semi_hard(d: Float[Tensor, "n n"], labels: Int64[Tensor, " n"], *, margin: float) -> SemiHard:
    r"""For every anchor a and positive p of its class, the negatives with a distance beyond that of p by at most m.

    .. math:: N_{ap} = \{ n : y_n \ne y_a, \; d_{ap} < d_{an} \le d_{ap} + m \}, \qquad y_p = y_a, \; p \ne a

    Args:
        d: Distances of the samples to each other.
        labels: Class of each.
        margin: m.

    Returns:
        Where they are; equally far ones stand in the order of the batch.

    Example:
        >>> d = torch.tensor([[0.0, 1.0, 1.5, 0.5], [1.0, 0.0, 3.0, 1.0], [1.5, 3.0, 0.0, 1.0], [0.5, 1.0, 1.0, 0.0]])
        >>> found = semi_hard(d, torch.tensor([0, 0, 1, 1]), margin=1.0)
        >>> found.number  # of sample 0 and its positive 1: the negative 2, at 1.5; 3 is nearer than the positive
        tensor([[0, 1, 0, 0],
                [0, 0, 0, 0],
                [0, 0, 0, 1],
                [0, 0, 0, 0]])
        >>> found.order[0, found.first[0, 1]]
        tensor(2)
    """
    d = d.contiguous()
    other = labels.unsqueeze(1) != labels
    near, order = d.masked_fill(~other, torch.inf).sort(dim=1, stable=True)
    first = torch.searchsorted(near, d, right=True)
    count = torch.searchsorted(near, d + margin, right=True) - first
    positive = ~other
    positive.fill_diagonal_(False)
    return SemiHard(order, first, torch.where(positive, count, 0))


@torch.no_grad()
def listed_pairs(found: SemiHard) -> Pairs:
    """The pairs that may have negatives, anchor by anchor.

    On the CPU those that have some. An accelerator would have to wait for their number: it gets all n² pairs, of
    which those without have no chosen negative.

    Example:
        >>> found = semi_hard(1.0 - torch.eye(2), torch.tensor([0, 0]), margin=1.0)
        >>> len(listed_pairs(found).anchor)
        0
    """
    if found.number.device.type == "cpu":
        anchor, positive = found.number.nonzero(as_tuple=True)
        return Pairs(anchor, positive)
    n = len(found.number)
    place = torch.arange(n * n, device=found.number.device)
    return Pairs(place // n, place % n)


@torch.no_grad()
def chosen_negatives(
    found: SemiHard, pairs: Pairs, *, most: int, fewest: bool = False
) -> tuple[Int64[Tensor, "t k"], Bool[Tensor, "t k"]]:
    r"""Up to ``most`` negatives of each pair, spread evenly over the order of their distances.

    Of c negatives, nearest first, those at :math:`\lfloor (2j + 1)\, c / 2k \rfloor` for j = 0 … k − 1 are taken, all
    where c is at most k. That is the middle of what a random choice takes on average: near and far ones in equal
    shares; but it draws no random number, so that it is the same on every rank and after a resume.

    Args:
        found: Of all pairs.
        pairs: Those in question.
        most: k.
        fewest: Take of each pair as many as the pair with the fewest has.

    Returns:
        The negatives by their places in the batch, and which of them exist.

    Example:
        >>> d = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        >>> found = semi_hard((d - d.unsqueeze(1)).abs(), torch.tensor([0, 0, 1, 2, 3, 4]), margin=9.0)
        >>> pairs = listed_pairs(found)
        >>> pairs.anchor[0], pairs.positive[0], chosen_negatives(found, pairs, most=2)[0][0]
        (tensor(0), tensor(1), tensor([3, 5]))
    """
    anchor, positive = pairs
    first, count = found.first[anchor, positive], found.number[anchor, positive]
    kept = count.clamp(max=most)
    if fewest and len(kept):
        kept = torch.minimum(kept, torch.where(kept > 0, kept, most).min())
    columns = min(most, len(found.order))
    if kept.device.type == "cpu":  # an accelerator would have to wait for the number
        columns = int(kept.max()) if len(kept) else 0
    j, kept = torch.arange(columns, device=count.device), kept.unsqueeze(1)
    exists = j < kept
    place = first.unsqueeze(1) + (2 * j + 1) * count.unsqueeze(1) // (2 * kept).clamp(min=1)
    place = torch.where(exists, place, 0)
    return found.order[anchor.unsqueeze(1), place], exists


@torch.no_grad()
def listed_triplets(found: SemiHard) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"], Int64[Tensor, " m"]]:
    """Anchor, positive and negative of every semi-hard triplet, pair by pair, nearest negative first.

    An accelerator has to be waited for: nothing short of n³ bounds their number.

    Example:
        >>> d = torch.tensor([0.0, 1.0, 2.0, 3.0])
        >>> found = semi_hard((d - d.unsqueeze(1)).abs(), torch.tensor([0, 0, 1, 2]), margin=9.0)
        >>> torch.stack(listed_triplets(found)).T.tolist()
        [[0, 1, 2], [0, 1, 3], [1, 0, 3]]
    """
    anchor, positive = found.number.nonzero(as_tuple=True)
    count = found.number[anchor, positive]
    pair = torch.repeat_interleave(count)
    begin = found.first[anchor, positive] - (count.cumsum(0) - count)
    anchor, positive = anchor[pair], positive[pair]
    place = torch.arange(len(pair), device=pair.device) + begin[pair]
    return anchor, positive, found.order[anchor, place]
