"""Batches of groups: the samples that CKD compares stand side by side.

Letters: m ids, k samples of a group, p of them positives, q negatives; g groups, b batches, n samples of a batch,
c draws.
Source: https://github.com/alextxu/ckd/blob/f8cc6bd/dataset/sampling/CKDSample.py
"""

import math
from itertools import chain, combinations

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data.counter import uniform_bits, uniform_integers
from tutelage.errors import ConfigError

__all__ = ["GroupSampler"]

_GROUP_STREAM = 0x67726F757073
_CHOICE_STREAM = 0x63686F696365
_ROUND_STREAM = 0x726F756E64

_MANY = 5
"""From five times as many groups as are wanted they are drawn, below they are listed: the authors' threshold.

A draw then repeats an earlier one in less than a fifth of the cases, and 1.12 draws a group are enough in the mean.
"""


class GroupSampler:
    """Groups of different samples drawn once, and passed over in random order: the authors' way to feed CKD.

    A group is a set of k − ⌊k/2⌋ positives and one of ⌊k/2⌋ negatives that share no sample. Groups are unique: the
    order within a side does not count, which side is which does. Labels play no part. Where fewer groups exist
    than are wanted, all of them are used.

    Batches follow each other through a random order of all groups, over the ends of epochs too; when all had
    their turn, a new order begins. An epoch has as many images as one of a `UniformSampler`, so that both cost the
    same (in the authors' code a step has as many groups as a step of KD has images: k times the cost). A batch may
    hold an image several times, in different groups.

    Args:
        ids: ``(m,)`` int64 ids to draw from.
        k: Samples of a group; 2 makes pairs.
        batch_size: Samples of a batch, over all ranks: ``batch_size // k`` groups, the k rows of each side by side,
            its positives first.
        seed: Which groups, in which order.
        groups: How many groups to draw; 100,000 in the authors' code.

    Attributes:
        num_batches: Batches of an epoch.
        num_groups: Groups of a round: ``groups``, or all that exist where they are fewer.

    Raises:
        ConfigError: if k is below 2, the batch is larger than the data or not a multiple of k, or a batch needs
            more groups than are to be drawn.

    Example:
        >>> sampler = GroupSampler(torch.arange(20), k=3, batch_size=6, seed=0)
        >>> sampler.num_groups, sampler.epoch(0).shape
        (3420, torch.Size([3, 6]))
    """

    def __init__(self, ids: Int64[Tensor, " m"], *, k: int, batch_size: int, seed: int, groups: int = 100_000) -> None:
        if k < 2:
            raise ConfigError(f"a group compares at least 2 samples, got k = {k}")
        if batch_size < 1 or batch_size % k:
            raise ConfigError(
                f"batch_size counts images and must be a multiple of the {k} of a group, got {batch_size}: "
                f"use {max(batch_size // k, 1) * k}"
            )
        if batch_size > len(ids):
            raise ConfigError(
                f"a batch of {batch_size} is larger than the data ({len(ids)} samples): "
                f"use a batch size of at most {len(ids) // k * k}"
            )
        if groups < batch_size // k:
            raise ConfigError(
                f"a batch of {batch_size} holds {batch_size // k} groups, got groups = {groups}: draw at least as many"
            )
        self.ids, self.k, self.batch_size, self.seed = ids, k, batch_size, seed
        self.num_batches: int = len(ids) // batch_size
        self._groups = ids[_unique_groups(len(ids), k - k // 2, k // 2, groups, seed)]
        self.num_groups: int = len(self._groups)

    def epoch(self, epoch: int) -> Int64[Tensor, "b n"]:
        """The ids of every batch of an epoch: row g·k begins the g-th group of a batch."""
        used = self.num_batches * (self.batch_size // self.k)
        place, end = epoch * used, (epoch + 1) * used
        parts = []
        while place < end:
            turn, start = divmod(place, self.num_groups)
            order = uniform_bits(self.seed, _ROUND_STREAM, turn, torch.arange(self.num_groups)).argsort(stable=True)
            parts.append(order[start : start + end - place])
            place += len(parts[-1])
        return self._groups[torch.cat(parts)].view(self.num_batches, self.batch_size)


def _unique_groups(m: int, p: int, q: int, wanted: int, seed: int) -> Int64[Tensor, "g k"]:
    """Different groups of places in [0, m), each side ascending; all that exist where they are not more than wanted."""
    exist = math.comb(m, p) * math.comb(m - p, q)
    if exist < _MANY * wanted:
        groups = _all_groups(m, p, q)
        if exist <= wanted:
            return groups
        return groups[uniform_bits(seed, _CHOICE_STREAM, torch.arange(exist)).argsort(stable=True)[:wanted]]
    draws = wanted + wanted // 4 + 1
    while True:
        groups = _drawn_groups(m, p, q, draws, seed)
        groups = groups[_first_of_each(groups, m)]
        if len(groups) >= wanted:
            return groups[:wanted]
        draws *= 2  # the same draws and as many more: the result does not depend on how many came first


def _all_groups(m: int, p: int, q: int) -> Int64[Tensor, "g k"]:
    """Every set of p places with every set of q of the others."""
    positives = _sets(m, p).repeat_interleave(math.comb(m - p, q), 0)
    negatives = _sets(m - p, q).repeat(math.comb(m, p), 1)
    return torch.cat([positives, _among_the_others(negatives, positives)], 1)


def _sets(m: int, size: int) -> Int64[Tensor, "g size"]:
    """Every set of places in [0, m) of a size, ascending (`torch.combinations` needs memory for m to that power)."""
    places = np.fromiter(chain.from_iterable(combinations(range(m), size)), np.int64)
    return torch.from_numpy(places).view(-1, size)


def _drawn_groups(m: int, p: int, q: int, draws: int, seed: int) -> Int64[Tensor, "c k"]:
    """Uniform random groups: the j-th sample is one of the m − j places that are left."""
    number, column = torch.arange(draws)[:, None], torch.arange(p + q)
    left = uniform_integers(uniform_bits(seed, _GROUP_STREAM, number, column), m - column)
    picks = left[:, :1]
    for j in range(1, p + q):
        taken = picks.sort(1).values
        picks = torch.cat([picks, _among_the_others(left[:, j : j + 1], taken)], 1)
    return torch.cat([picks[:, :p].sort(1).values, picks[:, p:].sort(1).values], 1)


def _among_the_others(left: Int64[Tensor, "c w"], taken: Int64[Tensor, "c t"]) -> Int64[Tensor, "c w"]:
    """The places that ``left`` counts when those ``taken`` (ascending) are left out of the count."""
    for j in range(taken.shape[1]):
        left = left + (left >= taken[:, j : j + 1])
    return left


def _first_of_each(groups: Int64[Tensor, "c k"], m: int) -> Int64[Tensor, " g"]:
    """Rows that equal no earlier row, ascending.

    Rows become numbers column by column, renumbered each time, so that no number reaches rows · m. 125,000 rows
    of 3 take 7 ms on one core, and ``torch.unique(dim=0)`` 180 ms.
    """
    code = groups[:, 0]
    for j in range(1, groups.shape[1]):
        code = torch.unique(code * m + groups[:, j], return_inverse=True)[1]
    rows = torch.arange(len(groups))
    first = torch.full((int(code.max()) + 1,), len(groups)).scatter_reduce_(0, code, rows, "amin")
    return first.sort().values
