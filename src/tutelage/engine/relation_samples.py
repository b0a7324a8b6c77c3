"""The samples whose relations are measured, and what a network says of them.

Answers are brought to the host batch by batch: nothing trains then, and all of them need not fit on an accelerator.

Letters: n samples, d features, c classes or channels.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from tutelage.engine.evaluation import Judge
from tutelage.engine.relation_channels import active_channels
from tutelage.engine.task import Task
from tutelage.errors import ConfigError, InputError
from tutelage.labels import LabelSpace
from tutelage.teachers import LiveTeacher
from tutelage.types import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["LEAST", "Samples", "Seen", "Shown", "ask", "draw_samples"]

Shown = Literal["validation", "test"]

LEAST = 4
"""What the unbiased estimate of CKA needs."""


class Samples(NamedTuple):
    """The samples in question: ids ``(n,)`` of a split, their labels ``(n,)`` and the names of these."""

    judge: Judge
    split: Shown
    ids: Tensor
    labels: Tensor
    classes: LabelSpace

    def show(self, rows: Tensor) -> Batch:
        """Some of them, un-augmented."""
        return next(iter(self.judge.batches(self.split, self.ids[rows])))


class Seen(NamedTuple):
    """What a network says of the samples.

    Attributes:
        role: Of the features.
        features: ``(n, d)``.
        logits: ``(n, c)``.
        active: ``(n, c)``, which channels are active at another place; None where the network lacks it.
    """

    role: str
    features: Tensor
    logits: Tensor
    active: Tensor | None


def draw_samples(task: Task, fabric: "Fabric", split: Shown, samples: int) -> Samples:
    """At most so many samples, at random (a folder holds one class after the other) and alike in every run.

    Args:
        task: The images.
        fabric: Where they are shown.
        split: Which of them.
        samples: The most.

    Raises:
        ConfigError: if they are too few.
    """
    if samples < LEAST:
        raise ConfigError(f"relations need at least {LEAST} samples, got {samples}: raise --samples")
    judge = Judge(task.data, fabric, task.division)
    ids, labels = judge.ids[split], judge.labels(split).cpu()
    if len(ids) < LEAST:
        raise ConfigError(f"relations need at least {LEAST} samples, and {split} has {len(ids)}: take another split")
    if len(ids) > samples:
        rows = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:samples].sort().values
        ids, labels = ids[rows], labels[rows]
    return Samples(judge, split, ids, labels, task.data.labels)


def ask(source: LiveTeacher, drawn: Samples, place: str | None) -> Seen:
    """What a network says of all samples, on the CPU: its embedding, or the logits where it has none.

    Args:
        source: The network.
        drawn: The samples.
        place: The role of the channels.

    Raises:
        InputError: if an answer is not finite.
    """
    role = "embedding" if "embedding" in source.shapes else "logits"
    place = place if place in source.shapes else None
    source.listen([each for each in {role: None, place: None} if each is not None and each != "logits"])
    logit_parts, feature_parts, active_parts = [], [], []
    for batch in drawn.judge.batches(drawn.split, drawn.ids):
        said = source(batch)
        logit_parts.append(said.logits.float().cpu())
        feature_parts.append((said.logits if role == "logits" else said.taps[role]).flatten(1).float().cpu())
        active_parts += [active_channels(said.taps[place]).cpu()] if place is not None else []
    logits, features = torch.cat(logit_parts), torch.cat(feature_parts)
    if not bool(logits.isfinite().all() and features.isfinite().all()):
        raise InputError(f"{source.network.card.model} answers with numbers that are not finite: it has diverged")
    return Seen(role, features, logits, torch.cat(active_parts) if active_parts else None)
