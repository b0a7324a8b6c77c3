"""Accuracy and cross-entropy over a split, in one pass and with one wait at its end."""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data import Dataset, ImageStore, evaluation_batches
from tutelage.data.protocols import Division
from tutelage.ops.judges import ncm_scores
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Judge", "Score", "Split", "evaluate", "evaluate_ncm", "share_buffers"]

BATCH_SIZE = 500

Split = Literal["train", "validation", "test"]

_KNOWN: dict[tuple[object, ...], "Score"] = {}
"""What teachers scored in this process."""


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
    right, loss_sum, count = reduce(sums.clone()).tolist()  # waits once a pass over a split
    return Score(right / max(count, 1), loss_sum / max(count, 1), int(count))


def evaluate_ncm(
    embed: Callable[[Batch], Tensor],
    training: Iterator[Batch],
    batches: Iterator[Batch],
    *,
    num_classes: int,
    reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> float:
    """Share of the samples whose embedding has its own class's mean as the nearest, by cosine.

    Source: the judge of REFILLED's first stage, https://arxiv.org/abs/2205.01915. Means are exact: every training
    image is embedded.

    Args:
        embed: Batch → one row a sample, in eval mode.
        training: What the class means are of; a class without samples is nobody's nearest.
        batches: The split; every sample once.
        num_classes: Number of classes.
        reduce: Adds the sums of all ranks, where each rank holds a part of both.

    Returns:
        Between 0 and 1; NaN where an embedding is not finite.

    Example:
        >>> def batch(*labels):
        ...     y = torch.tensor(labels)
        ...     return Batch(torch.zeros(len(y), 1, 2, 2), y, y, y)
        >>> def one_hot(batch):
        ...     return torch.eye(3)[batch.labels % 2]
        >>> evaluate_ncm(one_hot, iter([batch(0, 1)]), iter([batch(1, 1, 0, 2)]), num_classes=3)
        0.75
    """
    sums: Tensor | None = None
    with torch.inference_mode():
        for batch in training:
            rows = embed(batch).flatten(1).double()
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)  # the last column counts
            sums = rows.new_zeros(num_classes, rows.shape[1]) if sums is None else sums
            sums.index_add_(0, batch.labels, rows)
        if sums is None:
            return math.nan
        sums = reduce(sums.clone())
        means, counts = sums[:, :-1] / sums[:, -1:].clamp(min=1), sums[:, -1]
        found = sums.new_zeros(2)
        for batch in batches:
            rows = embed(batch).flatten(1).to(means.dtype)
            nearest = ncm_scores(rows, means).masked_fill(counts == 0, -torch.inf).argmax(1)
            # A row that is not finite has cosine 0 to all, which would hide it.
            right = torch.where((rows.sum(1) + means.sum()).isfinite(), (nearest == batch.labels).double(), torch.nan)
            found += torch.stack([right.sum(), right.new_tensor(len(right))])
        right_sum, count = reduce(found.clone()).tolist()  # waits once a pass over a split
    return float(right_sum / max(count, 1))


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
            "test": (data.test.labels >= 0).nonzero().flatten(),  # −1 is a class that does not take part
        }

    def labels(self, split: Split) -> Tensor:
        """The labels ``(n,)`` of a split, in the order of its ids."""
        return self._store(split).labels[self.ids[split]]

    def batches(self, split: Split, ids: Tensor | None = None) -> Iterator[Batch]:
        """Un-augmented batches of a split, in order."""
        chosen = self.ids[split] if ids is None else ids
        views = self._data.views(seed=0)
        return evaluation_batches(self._store(split), chosen, views, batch_size=BATCH_SIZE, device=self._fabric.device)

    def score(self, answer: Callable[[Batch], Outputs], split: Split) -> Score:
        """Accuracy and cross-entropy on a split; each rank takes its share of the images."""
        return evaluate(answer, self.batches(split, self._mine(split)), reduce=self._total)

    def score_teacher(self, teacher: Teacher, split: Split) -> Score:
        """:meth:`score` of a teacher that does not change, measured once a process: a grid asks it in every run."""
        store, ids, labels = self._store(split), self.ids[split], self.labels(split)
        asked = hashlib.sha256(ids.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
        key = (teacher.fingerprint, store.checksum, asked, str(self._fabric.device), self._fabric.world_size)
        if key not in _KNOWN:
            _KNOWN[key] = self.score(teacher, split)
        return _KNOWN[key]

    def score_network(self, network: nn.Module, split: Split, ids: Tensor | None = None) -> Score:
        """:meth:`score` of a bare network, in eval mode and in the precision of the run.

        Args:
            network: On every rank.
            split: Where the images are.
            ids: Those of them that count, the same on every rank; by default all.
        """
        mine = self._mine(split) if ids is None else ids[self._fabric.global_rank :: self._fabric.world_size]
        return evaluate(self._asked(network), self.batches(split, mine), reduce=self._total)

    def score_classes(self, network: nn.Module, split: Split) -> tuple[Score, list[int], list[int]]:
        """:meth:`score_network`, and beside it the images of each class and how many of them are classified rightly."""
        answer = self._asked(network)
        counts = torch.zeros(2, len(self._data.labels), dtype=torch.float64, device=self._fabric.device)

        def counted(batch: Batch) -> Outputs:
            outputs = answer(batch)
            right = outputs.logits.argmax(1) == batch.labels
            counts.index_add_(1, batch.labels, torch.stack([torch.ones_like(right), right]).double())
            return outputs

        score = evaluate(counted, self.batches(split, self._mine(split)), reduce=self._total)
        images, right = self._total(counts).long().tolist()  # waits once a pass over a split
        return score, images, right

    def score_ncm(self, network: nn.Module, split: Split) -> float:
        """:func:`evaluate_ncm` of a bare network that hands out its ``embedding``; it sees the training images too."""
        answer = self._asked(network)
        training, judged = (self.batches(part, self._mine(part)) for part in ("train", split))
        return evaluate_ncm(
            lambda batch: answer(batch).taps["embedding"],
            training,
            judged,
            num_classes=len(self._data.labels),
            reduce=self._total,
        )

    def measure(self, network: nn.Module, split: Split, *, by: Literal["accuracy", "ncm", "none"]) -> dict[str, float]:
        """What a judge finds, by name: accuracy and loss of the logits, or the accuracy of the nearest class mean."""
        if by == "ncm":
            return {"ncm": self.score_ncm(network, split)}
        score = self.score_network(network, split)
        return {"accuracy": score.accuracy, "loss": score.loss}

    @torch.inference_mode()
    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """What a bare network says of a batch, in eval mode and in the precision of the run; all ranks must ask."""
        return self._asked(network)(batch)

    def _asked(self, network: nn.Module) -> Callable[[Batch], Outputs]:
        network.eval()
        share_buffers(network, self._fabric)

        def answer(batch: Batch) -> Outputs:
            with self._fabric.autocast():
                outputs: Outputs = network(batch.images)
            return outputs

        return answer

    def _store(self, split: Split) -> ImageStore:
        return self._data.test if split == "test" else self._data.train

    def _mine(self, split: Split) -> Tensor:
        return self.ids[split][self._fabric.global_rank :: self._fabric.world_size]

    def _total(self, sums: Tensor) -> Tensor:
        added: Tensor = self._fabric.all_reduce(sums, reduce_op="sum")  # type: ignore[assignment]
        return added
