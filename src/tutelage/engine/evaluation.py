"""Accuracy and cross-entropy over a split, in one pass and with one wait at its end."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data import Dataset, evaluation_batches
from tutelage.data.protocols import Division
from tutelage.types import Batch, Outputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Judge", "Score", "Split", "evaluate", "share_buffers"]

BATCH_SIZE = 500

Split = Literal["train", "validation", "test"]


class Score(NamedTuple):
    """How well a network classifies a split: shares in [0, 1] and nats.

    Attributes:
        accuracy: Share of the samples whose highest logit is that of their label.
        loss: Mean cross-entropy.
        images: Number of samples.
    """

    accuracy: float
    loss: float
    images: int


def evaluate(
    answer: Callable[[Batch], Outputs],
    batches: Iterator[Batch],
    *,
    reduce: Callable[[torch.Tensor], torch.Tensor] = lambda sums: sums,
) -> Score:
    """Judge ``answer`` over ``batches``.

    Args:
        answer: Batch → outputs, in eval mode and without gradient.
        batches: The split; every sample once.
        reduce: Adds the sums of all ranks, where each rank holds a part of the split.

    Returns:
        Accuracy, cross-entropy and count.

    Example:
        >>> def batch(*labels):
        ...     y = torch.tensor(labels)
        ...     return Batch(torch.zeros(len(y), 1, 2, 2), y, y, y)
        >>> always_one = lambda b: Outputs(torch.tensor([[0.0, 99.0]]).repeat(len(b.labels), 1), {})
        >>> evaluate(always_one, iter([batch(1, 1), batch(1, 0)])).accuracy
        0.75
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for batch in batches:
        with torch.inference_mode():
            logits = answer(batch).logits.float()
            correct = (logits.argmax(1) == batch.labels).sum()
            loss = F.cross_entropy(logits, batch.labels, reduction="sum")
            sums = sums.to(logits.device) + torch.stack([correct, loss, correct.new_tensor(len(logits))]).double()
    right, loss_sum, count = reduce(sums.clone()).tolist()
    return Score(right / max(count, 1), loss_sum / max(count, 1), int(count))


def share_buffers(network: nn.Module, fabric: "Fabric") -> None:
    """Give every rank the running statistics of the first one, which count: they differ, as the parts of a batch do.

    Args:
        network: Bare, with the same weights on every rank.
        fabric: Knows the ranks; all must call this together.
    """
    if fabric.world_size > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)


class Judge:
    """A data set cut into training, validation and test images, and the means to score a network on each.

    Args:
        data: The images.
        fabric: Knows device, precision and ranks.
        division: How the training images are cut.
    """

    def __init__(self, data: Dataset, fabric: "Fabric", division: Division) -> None:
        self._data, self._fabric = data, fabric
        self.ids: dict[Split, Tensor] = {
            "train": division.train,
            "validation": division.validation,
            "test": torch.arange(len(data.test.labels)),
        }

    def labels(self, split: Split) -> Tensor:
        """The labels ``(n,)`` of a split, in the order of its ids."""
        return (self._data.test if split == "test" else self._data.train).labels[self.ids[split]]

    def batches(self, split: Split, ids: Tensor | None = None) -> Iterator[Batch]:
        """Un-augmented batches of a split, in order."""
        store = self._data.test if split == "test" else self._data.train
        chosen = self.ids[split] if ids is None else ids
        views = self._data.views(seed=0)
        return evaluation_batches(store, chosen, views, batch_size=BATCH_SIZE, device=self._fabric.device)

    def score(self, answer: Callable[[Batch], Outputs], split: Split) -> Score:
        """Accuracy and cross-entropy on a split; each rank takes its share of the images."""
        fabric = self._fabric
        mine = self.ids[split][fabric.global_rank :: fabric.world_size]

        def total(sums: Tensor) -> Tensor:
            added: Tensor = fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
            return added

        return evaluate(answer, self.batches(split, mine), reduce=total)

    def score_network(self, network: nn.Module, split: Split) -> Score:
        """:meth:`score` of a bare network, in eval mode and in the precision of the run."""
        network.eval()
        share_buffers(network, self._fabric)

        def answer(batch: Batch) -> Outputs:
            with self._fabric.autocast():
                outputs: Outputs = network(batch.images)
            return outputs

        return self.score(answer, split)
