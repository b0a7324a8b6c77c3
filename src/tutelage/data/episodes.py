"""Few-shot episodes: which classes and which of their images, as a pure function of (seed, episode).

Letters: e episodes, w ways, s shots, q queries, m samples of the pool, k classes to draw from, l images of the largest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.errors import ConfigError

__all__ = ["EpisodeSampler", "EpisodeShape", "Episodes"]

_WAYS_STREAM = 0x77617973
_IMAGES_STREAM = 0x73686F7473


@dataclass(frozen=True, kw_only=True)
class EpisodeShape:
    """How large an episode is.

    Args:
        ways: Classes.
        shots: Labelled images of each.
        queries: Other images of each, whose class is to be told.

    Raises:
        ConfigError: if there are fewer than 2 ways, no shot or no query.

    Example:
        >>> EpisodeShape(shots=5).images
        20
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15

    def __post_init__(self) -> None:
        if self.ways < 2:
            raise ConfigError(f"an episode needs at least 2 ways, got {self.ways}")
        if min(self.shots, self.queries) < 1:
            raise ConfigError(
                f"an episode needs at least 1 shot and 1 query of a class, got {self.shots} and {self.queries}"
            )

    @property
    def images(self) -> int:
        """Images of each class."""
        return self.shots + self.queries


class Episodes(NamedTuple):
    """Some episodes; the way of an image, its label within the episode, is its place in the second dimension.

    Attributes:
        classes: ``(e, w)`` labels of the ways.
        support: ``(e, w, s)`` rows of the pool.
        query: ``(e, w, q)`` rows of the pool.
    """

    classes: Int64[Tensor, "e w"]
    support: Int64[Tensor, "e w s"]
    query: Int64[Tensor, "e w q"]


class EpisodeSampler:
    """Draws classes, and images of each, without replacement.

    The images of a class stand in an order that the episode gives them: the first q are its queries, the next s its
    support. So the episodes of one seed have the same classes and queries whatever the shots, and the support of 5
    shots holds that of 1: differences between shots, classifiers and networks can be paired by episode.

    Args:
        labels: ``(m,)`` int64 class of each row of the pool.
        shape: How large an episode is.
        classes: The labels to draw from; by default all that occur.
        seed: Which episodes.
        names: The name of each label, for messages.

    Raises:
        ConfigError: if there are fewer classes than ways, one is listed twice, or one has fewer images than shots and
            queries.

    Example:
        >>> sampler = EpisodeSampler(torch.arange(40) % 4, EpisodeShape(ways=2, shots=1, queries=3), seed=0)
        >>> drawn = sampler.draw(0, 600)
        >>> drawn.support.shape, drawn.query.shape
        (torch.Size([600, 2, 1]), torch.Size([600, 2, 3]))
    """

    def __init__(
        self,
        labels: Int64[Tensor, " m"],
        shape: EpisodeShape,
        *,
        classes: Sequence[int] | None = None,
        seed: int,
        names: Sequence[str] | None = None,
    ) -> None:
        chosen = torch.unique(labels).tolist() if classes is None else list(classes)
        if len(set(chosen)) < len(chosen):
            twice = next(label for label in chosen if chosen.count(label) > 1)
            raise ConfigError(f"class {_name(twice, names)} is listed twice: an episode draws without replacement")
        if shape.ways > len(chosen):
            raise ConfigError(
                f"an episode of {shape.ways} ways needs at least as many classes, there are {len(chosen)}: "
                "use fewer ways or more classes"
            )
        members = [(labels == label).nonzero().flatten() for label in chosen]
        fewest = min(range(len(chosen)), key=lambda number: len(members[number]))
        if len(members[fewest]) < shape.images:
            raise ConfigError(
                f"an episode of {shape.shots} shots and {shape.queries} queries needs {shape.images} images of a "
                f"class, but class {_name(chosen[fewest], names)} has {len(members[fewest])}: use fewer shots or "
                "queries, or more images"
            )
        self.shape, self.seed = shape, seed
        self.classes: Int64[Tensor, " k"] = torch.tensor(chosen)
        self._sizes = torch.tensor([len(rows) for rows in members])
        self._members = torch.nn.utils.rnn.pad_sequence(members, batch_first=True)  # (k, l)

    def draw(self, start: int, count: int) -> Episodes:
        """The episodes ``start``, ``start + 1``, …: each is the same in whatever company it is drawn.

        Args:
            start: The first, from 0 on.
            count: How many.
        """
        shape, numbers = self.shape, torch.arange(start, start + count)
        order = uniform_bits(self.seed, _WAYS_STREAM, numbers.unsqueeze(1), self.classes).argsort(dim=1, stable=True)
        ways = order[:, : shape.ways]
        rows = self._members[ways]
        bits = uniform_bits(self.seed, _IMAGES_STREAM, numbers.view(-1, 1, 1), rows)
        absent = torch.arange(rows.shape[2]) >= self._sizes[ways].unsqueeze(2)
        # A smaller class is padded: its places beyond the last image come last whatever their bits.
        bits = bits.masked_fill(absent, torch.iinfo(torch.int64).max)
        drawn = rows.gather(2, bits.argsort(dim=2, stable=True)[..., : shape.images])
        return Episodes(self.classes[ways], drawn[..., shape.queries :], drawn[..., : shape.queries])

    def blocks(self, total: int, *, size: int) -> Iterator[Episodes]:
        """The first ``total`` episodes, at most ``size`` at a time."""
        for start in range(0, total, size):
            yield self.draw(start, min(size, total - start))


def _name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None else repr(names[label])
