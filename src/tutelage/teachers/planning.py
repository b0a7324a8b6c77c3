"""Planners: which samples to send to a teacher that costs, the best first.

Every plan is nested: its first c ids are the plan for c calls. A larger budget then buys what a smaller one bought,
and more.

Letters: n samples, c calls, d features.
"""

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.errors import ConfigError, DataError, ShapeError

__all__ = ["balanced_plan", "k_centre_plan", "random_plan"]

_PLAN_STREAM = 0x706C616E
_CLASS_STREAM = 0x706C616E636C
_CENTRE_STREAM = 0x706C616E6B63


def random_plan(ids: Int64[Tensor, " n"], count: int, *, seed: int) -> Int64[Tensor, " c"]:
    """A uniform random choice.

    Args:
        ids: ``(n,)`` int64 ids that may be bought, all different.
        count: How many to buy.
        seed: Which choice.

    Returns:
        ``(count,)`` ids in the order in which to buy them.

    Raises:
        ShapeError: if the ids are not one row of int64.
        ConfigError: if the count is below 1 or above the number of ids.

    Example:
        >>> random_plan(torch.arange(100, 200), 3, seed=0)
        tensor([131, 192, 153])
    """
    _check(ids, count)
    return ids[uniform_bits(seed, _PLAN_STREAM, ids).argsort(stable=True)[:count]]


def balanced_plan(
    ids: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], count: int, *, seed: int
) -> Int64[Tensor, " c"]:
    """As many samples of each class, chosen at random.

    Classes are served in rounds, each in a random order of its own and one sample a class. The counts of two classes
    therefore differ by at most one, until a class has no more samples.

    Args:
        ids: ``(n,)`` int64 ids that may be bought, all different.
        labels: ``(n,)`` int64 class of each id.
        count: How many to buy.
        seed: Which choice.

    Returns:
        ``(count,)`` ids in the order in which to buy them.

    Raises:
        ShapeError: if the ids are not one row of int64, or ids and labels not equally many.
        ConfigError: if the count is below 1 or above the number of ids.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
        >>> labels[balanced_plan(torch.arange(8), labels, 4, seed=0)].bincount()
        tensor([2, 2])
    """
    _check(ids, count)
    if labels.shape != ids.shape:
        raise ShapeError(
            f"every id needs one label, ({len(ids)},), got {tuple(labels.shape)}: give the labels of these ids"
        )
    order = uniform_bits(seed, _CLASS_STREAM, ids).argsort(stable=True)
    by_class = order[labels[order].argsort(stable=True)]
    sizes = torch.unique_consecutive(labels[by_class], return_counts=True)[1]
    turn = torch.arange(len(ids)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    # Chance decides within a round apart from the order within a class, which would favour large classes.
    chance = uniform_bits(seed, _CLASS_STREAM, turn, labels[by_class]).argsort(stable=True)
    return ids[by_class[chance[turn[chance].argsort(stable=True)]]][:count]


def k_centre_plan(
    ids: Int64[Tensor, " n"], features: Num[Tensor, "n d"], count: int, *, seed: int
) -> Int64[Tensor, " c"]:
    r"""Samples that cover all others: always the one farthest from those chosen before.

    .. math:: u_{j+1} = \arg\max_i \min_{u \in u_1 \dots u_j} \|x_i - x_u\|_2

    The largest distance of a sample from its nearest chosen one is at most twice the smallest that any choice of as
    many samples reaches, wherever one begins. The first sample is drawn by the seed, so that several seeds give
    several plans to compare. Ties go to the lowest id; nearly equal distances may fall otherwise on another
    machine, by the rounding of its float32.

    Each choice is one product of features and a row: c · n · d multiplications, and one float32 copy of the features
    in memory. On one core 1600 of 45,000 samples take 46 s for 32 × 32 × 3 pixels, and 8 s once these are averaged to
    8 × 8 × 3 (``F.avg_pool2d(images, 4).flatten(1)``): average larger images, or take a layer of the student.

    Sources: Gonzalez. Clustering to minimize the maximum intercluster distance. Theoretical Computer Science 38,
    1985, https://doi.org/10.1016/0304-3975(85)90224-5 (the algorithm and the bound). Sener, Savarese. Active learning
    for convolutional neural networks: a core-set approach. ICLR 2018, https://arxiv.org/abs/1708.00489 (its use to
    choose samples).

    Args:
        ids: ``(n,)`` int64 ids that may be bought, all different.
        features: ``(n, d)`` one row an id, in the same order: pixels, or a layer of the current student.
        count: How many to buy.
        seed: Which sample comes first.

    Returns:
        ``(count,)`` ids in the order in which to buy them.

    Raises:
        ShapeError: if the ids are not one row of int64, or the features not one row an id.
        ConfigError: if the count is below 1 or above the number of ids.
        DataError: if a feature is not a finite number.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [9.0], [5.0]])
        >>> sorted(k_centre_plan(torch.arange(4), features, 3, seed=0).tolist())
        [0, 2, 3]
    """
    _check(ids, count)
    if features.dim() != 2 or len(features) != len(ids) or features.shape[1] == 0:
        raise ShapeError(
            f"features must be one row an id, ({len(ids)}, d), got {tuple(features.shape)}: "
            "flatten(1) them, and give those of these ids"
        )
    numbers = ids.to(features.device)
    last = uniform_bits(seed, _CENTRE_STREAM, numbers).argmin()
    # Seen from the first sample: an offset common to all rows would cost the digits of their distances.
    x = features.to(torch.float32, copy=True).sub_(features[last])
    norms = torch.cat([part.square().sum(1) for part in torch.split(x, 1024)])  # in parts: no second copy
    if not bool(norms.isfinite().all()):
        raise DataError("features must be finite numbers, got NaN, infinity or numbers above 1e19: look at their layer")
    nearest, plan = norms.clone(), [last]
    nearest[last] = -1.0  # below every distance: no sample is bought twice, not even where all coincide
    beyond = torch.iinfo(torch.int64).max
    while len(plan) < count:
        last = torch.where(nearest == nearest.max(), numbers, beyond).argmin()
        plan.append(last)
        away = torch.addmv(norms, x, x[last], alpha=-2.0).add_(norms[last]).clamp_(min=0.0)
        nearest = torch.minimum(nearest, away)
        nearest[last] = -1.0
    return ids[torch.stack(plan).to(ids.device)]


def _check(ids: Tensor, count: int) -> None:
    if ids.dim() != 1 or ids.dtype != torch.int64:
        raise ShapeError(f"ids must be one row of int64, (n,), got {tuple(ids.shape)} {ids.dtype}")
    if not 1 <= count <= len(ids):
        raise ConfigError(
            f"a plan for {count} calls needs from 1 to {len(ids)}, the number of samples there are to choose from"
        )
