"""A cache filled before a run: what the run would ask its teacher is asked now, and never again.

Letters: n samples.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.engine.answers import make_render
from tutelage.engine.config import RunConfig
from tutelage.engine.progress import Progress
from tutelage.engine.session import Session, open_fabric
from tutelage.engine.stopping import polite_stop
from tutelage.engine.tutor import Tutor
from tutelage.errors import ConfigError, Interrupted
from tutelage.rundir import RunDir
from tutelage.teachers import AnswerStore, fill

__all__ = ["Filled", "fill_answers"]

_LOOK_UP = 2**15
"""Answers looked up at once: 60 MB where several views share a node of 2 KB."""

ADVICE = "; none was sent: raise it, or spend what there is with --teacher.exhausted skip"

_ASK = 256
"""Samples asked for at once: what Ctrl-C waits for, and the most that a crash can have under way."""


@dataclass(frozen=True)
class Filled:
    """What a fill did.

    Args:
        path: The folder of the cache.
        wanted: Different (id, view) that the run shows its teacher.
        held: How many of them were in the cache before.
        asked: How many were sent.
        cost: What that cost.
        spent: Whether the budget left some of them out.
        unread: Whether a run with these settings would ask a teacher that costs nothing rather than read the cache.
    """

    path: Path
    wanted: int
    held: int
    asked: int
    cost: float
    spent: bool
    unread: bool


def fill_answers(config: RunConfig, *, all_views: bool = False) -> Filled:
    """Ask for every answer that a run would ask for and the cache lacks.

    What is answered is on disk at once: a fill that was stopped goes on where it was. Calls are noted in the ledger
    that the config names, else in one beside the answers: the budget counts all fills of a cache together.

    Args:
        config: The run, of which nothing is trained.
        all_views: Ask for every view there is rather than for those that this run shows, and store them packed.

    Raises:
        ConfigError: if there is no teacher, its answers cannot be kept, there is no end of views, or the budget does
            not suffice and is not to be spent in part.
        Interrupted: after Ctrl-C or SIGTERM.
        TutelageError: whatever stops the teacher; what it answered before is kept.
    """
    session = Session(_kept(config), open_fabric(replace(config.engine, devices=1)))
    tutor = session.tutor
    if tutor is None:
        raise ConfigError("there is nothing to fill a cache with: name a teacher and a method")
    session.check_teacher()
    ids, views = _every_view(session, tutor) if all_views else _shown(session, tutor)
    store = tutor.open_store(session.roles, dense=all_views)
    session.provide(RunDir(store.path))
    if tutor.config.answers.plan:
        ids, views = _planned(session, ids, views)
    missing = _missing(store, ids, views)
    tutor.check_room(ids[missing], views[missing], who="this fill", then=ADVICE)
    before = tutor.account()["cost"]
    asked = _ask(session, ids[missing], views[missing])
    return Filled(
        path=store.path,
        wanted=len(ids),
        held=len(ids) - len(missing),
        asked=asked,
        cost=tutor.account()["cost"] - before,
        spent=asked < len(missing),
        unread=_is_auto(config) and tutor.free and tutor.view == "same",
    )


def _is_auto(config: RunConfig) -> bool:
    return config.teacher is not None and config.teacher.answers.cache == "auto"


def _kept(config: RunConfig) -> RunConfig:
    """The same run with its answers kept."""
    if config.teacher is None:
        return config
    answers = config.teacher.answers
    if answers.cache == "off":
        raise ConfigError("a cache that is off cannot be filled: leave out --teacher.cache off")
    cache = "on" if _is_auto(config) else answers.cache
    return replace(config, teacher=replace(config.teacher, answers=replace(answers, cache=cache)))


def _shown(session: Session, tutor: Tutor) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    """The (id, view) that the teacher is shown in the stages with a method, each once.

    They come in the order of (id, view), which fills pages, unless a budget may end before they do: then as the run
    shows them, since ids that follow each other may all be of one class.
    """
    may_be_sent = torch.zeros(len(session.data.train), dtype=torch.bool)
    may_be_sent[session.division.answered] = True
    keys = []
    for number, stage in enumerate(session.config.stages):
        method = session.methods[number]
        for epoch in range(stage.epochs if method is not None and method.needs.teacher else 0):
            ids = session.samplers[number].epoch(epoch).flatten()
            ids = ids[may_be_sent[ids]]
            keys.append(ids * 2**32 + tutor.shown(ids, epoch=epoch))
    # One number each: sorting 3 M of them takes 1.3 s, and 12 s as pairs.
    every = torch.cat(keys).numpy()
    _, first = np.unique(every, return_index=True)
    key = torch.from_numpy(every[np.sort(first) if tutor.config.answers.budget is not None else first])
    return key >> 32, key & (2**32 - 1)


def _every_view(session: Session, tutor: Tutor) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"]]:
    count = tutor.views.num_views
    if tutor.view != "same":
        raise ConfigError(f"the teacher is shown one view of an image only (view={tutor.view}): leave out --all-views")
    if count is None:
        raise ConfigError(
            f"{session.data.name} has no end of views, since every epoch draws new ones: leave out --all-views, and "
            f"fill for the --epochs and the --seed of the run"
        )
    ids, numbers = session.division.answered, torch.arange(count)
    if tutor.config.answers.budget is not None:  # every image once before any of them twice
        return ids.repeat(count), numbers.repeat_interleave(len(ids))
    return ids.repeat_interleave(count), numbers.repeat(len(ids))


def _planned(session: Session, ids: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
    """Those that the plan of this seed chooses; the run makes the same plan again."""
    with tempfile.TemporaryDirectory() as folder:
        session.choose(RunDir(Path(folder)))
        chosen = torch.tensor(RunDir(Path(folder)).read_json("plan.json")["ids"], dtype=torch.int64)
    kept = torch.isin(ids, chosen)
    return ids[kept], views[kept]


def _missing(store: AnswerStore, ids: Tensor, views: Tensor) -> Int64[Tensor, " n"]:
    """Places of those that the store lacks."""
    parts = zip(torch.split(ids, _LOOK_UP), torch.split(views, _LOOK_UP), strict=True)
    known = [store.get(some, numbers)[1] for some, numbers in parts]
    return (~torch.cat(known)).nonzero()[:, 0]


def _ask(session: Session, ids: Tensor, views: Tensor) -> int:
    """Ask, batch by batch, for what the store lacks; how many were sent."""
    teacher = session.teacher
    if teacher is None:
        return 0
    render, before = make_render(session.data, session.views, session.fabric.device), teacher.calls
    with polite_stop() as stopped, Progress("cache fill", len(ids)) as progress:

        def after(done: int) -> None:
            progress.step(done)
            if stopped() and done < len(ids):
                came = teacher.calls - before
                raise Interrupted(f"stopped: {came:,} answers came and are kept; the same command asks for the rest")

        return fill(teacher, render, ids, views, batch_size=_ASK, in_order=True, after=after)
