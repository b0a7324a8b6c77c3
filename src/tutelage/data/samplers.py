"""Samplers: an epoch's order is a pure function of (seed, epoch), so that resuming needs no saved state.

Letters: b batches of an epoch, n samples of a batch, m samples in all, P classes a batch, M images a class.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.errors import ConfigError, ShapeError

__all__ = ["BalancedSampler", "Sampler", "UniformSampler"]

_ORDER_STREAM = 0x6F72646572
_CLASS_STREAM = 0x636C617373


@runtime_checkable
class Sampler(Protocol):
    """What every sampler can do.

    Attributes:
        batch_size: Samples of a batch, over all ranks.
        num_batches: Batches of an epoch; an incomplete last one is dropped.
    """

    batch_size: int
    num_batches: int

    def epoch(self, epoch: int) -> Int64[Tensor, "b n"]:
        """The ids of every batch of an epoch."""
        ...


def _shuffled(ids: Int64[Tensor, " m"], seed: int, *counters: int) -> Int64[Tensor, " m"]:
    """The ids in the order of their random bits: the same with every version of torch, unlike `randperm`."""
    return ids[uniform_bits(seed, *counters, ids).argsort(stable=True)]


class UniformSampler:
    """Every sample once an epoch, in random order.

    Args:
        ids: ``(m,)`` int64 ids to draw from.
        batch_size: Samples of a batch, over all ranks.
        seed: Which order.

    Raises:
        ConfigError: if the batch is empty or larger than the data.

    Example:
        >>> sampler = UniformSampler(torch.arange(10), batch_size=4, seed=0)
        >>> sampler.num_batches, sampler.epoch(3).shape
        (2, torch.Size([2, 4]))
    """

    def __init__(self, ids: Int64[Tensor, " m"], *, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
        if batch_size > len(ids):
            raise ConfigError(
                f"a batch of {batch_size} is larger than the data ({len(ids)} samples): "
                f"use a batch size of at most {len(ids)}"
            )
        self.ids, self.batch_size, self.seed = ids, batch_size, seed
        self.num_batches: int = len(ids) // batch_size

    def epoch(self, epoch: int) -> Int64[Tensor, "b n"]:
        """The ids of every batch of an epoch; the incomplete last batch is dropped."""
        order = _shuffled(self.ids, self.seed, _ORDER_STREAM, epoch)
        return order[: self.num_batches * self.batch_size].view(self.num_batches, self.batch_size)


class BalancedSampler:
    """P classes a batch and M images of each, for losses that need several images of a class.

    A class's images are shuffled each epoch and dealt in hands of M, starting again where a class is short; classes
    are dealt in rounds, so that after any number of batches their counts differ by at most one round. An epoch has
    as many batches as one of a `UniformSampler` of the same size.

    Args:
        ids: ``(m,)`` int64 ids to draw from.
        labels: ``(m,)`` int64 class of each id.
        classes_per_batch: P.
        images_per_class: M.
        seed: Which order.

    Raises:
        ShapeError: if ids and labels are not equally many.
        ConfigError: if there are fewer than P classes, a class has fewer than M images, or P or M is below 1.

    Example:
        >>> labels = torch.arange(12) % 3
        >>> sampler = BalancedSampler(torch.arange(12), labels, classes_per_batch=2, images_per_class=2, seed=0)
        >>> sampler.num_batches, labels[sampler.epoch(0)[0]].unique().numel()
        (3, 2)
    """

    def __init__(
        self,
        ids: Int64[Tensor, " m"],
        labels: Int64[Tensor, " m"],
        *,
        classes_per_batch: int,
        images_per_class: int,
        seed: int,
    ) -> None:
        if ids.shape != labels.shape:
            raise ShapeError(f"every id needs one label: got {len(ids)} ids and {len(labels)} labels")
        if min(classes_per_batch, images_per_class) < 1:
            raise ConfigError(
                "a balanced batch needs at least 1 class and 1 image of each, "
                f"got {classes_per_batch} and {images_per_class}"
            )
        classes, counts = torch.unique(labels, return_counts=True)
        if classes_per_batch > len(classes):
            raise ConfigError(
                f"a batch of {classes_per_batch} classes needs at least as many, the data has {len(classes)}"
            )
        if int(counts.min()) < images_per_class:
            short = classes[counts.argmin()].item()
            raise ConfigError(
                f"{images_per_class} images of each class are wanted in a batch, but class {short} "
                f"has {int(counts.min())}: use fewer images per class"
            )
        self.seed, self.classes_per_batch, self.images_per_class = seed, classes_per_batch, images_per_class
        self.batch_size: int = classes_per_batch * images_per_class
        self.num_batches: int = len(ids) // self.batch_size
        self._members = [ids[labels == label] for label in classes]

    def epoch(self, epoch: int) -> Int64[Tensor, "b n"]:
        """The ids of every batch of an epoch; images of a class stand side by side."""
        chosen = self._deal(epoch)
        batches = torch.empty(self.num_batches, self.classes_per_batch, self.images_per_class, dtype=torch.int64)
        for number, members in enumerate(self._members):
            places = (chosen == number).nonzero(as_tuple=True)
            uses = len(places[0])
            deck = _shuffled(members, self.seed, _ORDER_STREAM, epoch)
            # M images of one batch are distinct: the deck is dealt in whole hands before it starts again.
            hands = deck[: len(deck) // self.images_per_class * self.images_per_class].view(-1, self.images_per_class)
            batches[places] = hands[torch.arange(uses) % len(hands)]
        return batches.view(self.num_batches, self.batch_size)

    def _deal(self, epoch: int) -> Int64[Tensor, "b P"]:
        """P distinct classes for every batch: the least used ones first, chance decides among equals."""
        used = torch.zeros(len(self._members), dtype=torch.int64)
        numbers = torch.arange(len(self._members))
        rows = []
        for batch in range(self.num_batches):
            noise = uniform_bits(self.seed, _CLASS_STREAM, epoch, batch, numbers)
            order = noise.argsort(stable=True)
            row = order[used[order].argsort(stable=True)[: self.classes_per_batch]]
            used[row] += 1
            rows.append(row)
        return torch.stack(rows)
