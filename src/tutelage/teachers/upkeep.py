"""What is done with caches between runs: fill, verify, count, merge, prune."""

import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.errors import ConfigError, DataError
from tutelage.teachers.environment import close
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.rows import distinct
from tutelage.teachers.store import AnswerStore, Subject, stores_in
from tutelage.types import Batch, Outputs

__all__ = ["Stats", "Verified", "fill", "merge", "prune", "stats", "verify"]

Render = Callable[[Tensor, Tensor], Batch]
"""From (ids, views) to the batch that shows them."""


@dataclass(frozen=True)
class Stats:
    """One cache in figures.

    Args:
        path: Its folder.
        subject: Whose answers it holds.
        answers: How many.
        num_bytes: What it takes on disk.
    """

    path: Path
    subject: Subject
    answers: int
    num_bytes: int


@dataclass(frozen=True)
class Verified:
    """What a second asking of the teacher found.

    Args:
        checked: Answers that were compared.
        largest: The largest difference of a number from the one in the cache.
    """

    checked: int
    largest: float


def fill(
    teacher: Teacher,
    render: Render,
    ids: Int64[Tensor, " n"],
    views: Int64[Tensor, " n"],
    *,
    batch_size: int = 256,
    in_order: bool = False,
    after: Callable[[int], None] = lambda done: None,
) -> int:
    """Ask for all of these that the cache lacks.

    Args:
        teacher: A cached teacher, or one around it.
        render: Makes the batches.
        ids: Rows of the samples.
        views: The view of each.
        batch_size: Samples a batch.
        in_order: Ask in the order given, each once by then; by default in that of (id, view), which packs the
            pages full.
        after: Is told, after each batch, how many samples are done; what it raises ends the fill.

    Returns:
        How many answers were asked for.

    Raises:
        ConfigError: if the batch size is not positive.
        BudgetError: if the teacher has a budget that does not suffice.
    """
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    first = torch.arange(len(ids)) if in_order else distinct(ids, views)[0]
    before, done = teacher.calls, 0
    for part in torch.split(first, batch_size) if len(first) else ():
        teacher(render(ids[part], views[part]))
        done += len(part)
        after(done)
    return teacher.calls - before


def verify(store: AnswerStore, teacher: Teacher, render: Render, *, sample: int = 256, seed: int = 0) -> Verified:
    """Ask the teacher again for a random sample of the answers in the cache, and compare.

    Args:
        store: The cache.
        teacher: The teacher itself, not a cached one.
        render: Makes the batch.
        sample: How many answers; all, if there are fewer.
        seed: Which ones.

    Raises:
        ConfigError: if the sample is not positive.
        DataError: if the cache is empty or holds the answers of another teacher.
    """
    if sample < 1:
        raise ConfigError(f"the sample to verify must be at least 1, got {sample}")
    if store.subject.teacher != teacher.fingerprint:
        raise DataError(
            f"{store.path} holds the answers of teacher {store.subject.teacher}, not of {teacher.fingerprint}"
        )
    found = [(ids, views) for ids, views, _ in store.scan()]
    if not found:
        raise DataError(f"{store.path} holds no answers to verify: fill it first")
    ids, views = (torch.cat(parts) for parts in zip(*found, strict=True))
    chosen = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))[:sample].sort().values
    ids, views, content = ids[chosen], views[chosen], store.subject.content
    teacher.listen([role for role, _ in content.taps])
    # Rounded like the cache: what is left is what truly differs.
    again = content.decode(content.encode(teacher(render(ids, views))))
    held = content.decode(store.get(ids, views)[0])
    return Verified(len(ids), _largest(again, held))


def _largest(one: Outputs, other: Outputs) -> float:
    pairs = [(one.logits, other.logits), *((value, other.taps[role]) for role, value in one.taps.items())]
    return max(float((a - b).abs().max()) for a, b in pairs)


def stats(folder: Path) -> list[Stats]:
    """Every cache in a folder of caches, or the one that the folder is."""
    return [Stats(store.path, store.subject, len(store), store.num_bytes) for store in stores_in(folder)]


def merge(target: AnswerStore, sources: Iterable[AnswerStore]) -> int:
    """Copy the answers that ``target`` lacks; into an empty one this also packs the pages full.

    Returns:
        How many answers came in.

    Raises:
        DataError: if a source has another subject; nothing is copied then.
    """
    given = list(sources)
    for source in given:
        wrong = [name for name, fact in target.subject.facts().items() if source.subject.facts()[name] != fact]
        if wrong:
            raise DataError(f"{source.path} cannot be merged into {target.path}: they differ in {', '.join(wrong)}")
    before = len(target)
    for source in given:
        for ids, views, rows in source.scan():
            target.put(ids, views, rows)
    return len(target) - before


def prune(folder: Path, *, keep: Collection[str], dry_run: bool = True) -> list[Path]:
    """The caches of all other teachers, and the ledgers in them; they are deleted unless this is a dry run.

    Args:
        folder: Of caches, none of which is in use.
        keep: Fingerprints of the teachers whose answers stay.
        dry_run: Whether to only look.
    """
    stale = [store.path for store in stores_in(folder) if store.subject.teacher not in keep]
    if not dry_run:
        for path in stale:
            close(path)
            shutil.rmtree(path)
    return stale
