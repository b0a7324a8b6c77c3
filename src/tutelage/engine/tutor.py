"""The teacher of a run: opened from its config, wrapped by what its answers cost and where they are kept."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data import Dataset, ImageStore, Views
from tutelage.data.dataset import cache_folder
from tutelage.data.protocols import Division
from tutelage.engine.evaluation import share_buffers
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError
from tutelage.models import Network
from tutelage.rundir import RunDir
from tutelage.teachers import (
    AnswerStore,
    AveragingTeacher,
    BudgetedTeacher,
    CachedTeacher,
    ChosenTeacher,
    Content,
    FixedViewTeacher,
    Ledger,
    LiveTeacher,
    MovingTeacher,
    Subject,
    Teacher,
    stores_in,
)
from tutelage.teachers.planning import balanced_plan, k_centre_plan, random_plan
from tutelage.teachers.selecting import fixed_views

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["LEDGER", "Tutor", "answers_folder"]

LEDGER = "ledger.sqlite"


def answers_folder() -> Path:
    """Where caches are unless another folder is named: ``$TUTELAGE_CACHE/answers``."""
    return cache_folder() / "answers"


class Tutor:
    """What stands between a run and its teacher.

    Args:
        source: The bare teacher.
        config: Its settings.
        data: The images.
        division: Which of them may be sent.
        views: The student's family of views.
        one_answer: Whether the protocol allows one view of an image only.

    Attributes:
        source: The bare teacher.
        view: What it is shown: ``"same"``, ``"once"`` or ``"plain"``.
        views: The family of views.
        ledger: Of its calls, once it is provided; None where nothing is kept.
        facts: What ``result.json`` says of it.
        free: Whether it may be asked for its accuracy too, not only for what the student is taught.

    Raises:
        ConfigError: if the settings contradict each other or the protocol.
    """

    def __init__(
        self,
        source: Teacher,
        config: TeacherConfig,
        *,
        data: Dataset,
        division: Division,
        views: Views,
        one_answer: bool = False,
    ) -> None:
        self.source, self.config = source, config
        self._data, self._division, self.views = data, division, views
        answers = config.answers
        network = source.network if isinstance(source, LiveTeacher) else None
        networks = _networks_of(source)
        costs = config.costs
        self._moves = isinstance(source, MovingTeacher)
        self.view = answers.view or ("once" if one_answer or answers.plan else "same")
        if one_answer and self.view == "same":
            raise ConfigError("this protocol allows one answer an image: leave out view=same")
        if self._moves and (costs or answers.cache not in ("auto", "off")):
            raise ConfigError(f"the teacher {config.weights!r} changes at every step: its answers cannot be kept")
        self.free = not costs and not self._moves
        self._cached = not self._moves and (
            answers.cache not in ("auto", "off") or (answers.cache == "auto" and (costs or self.view != "same"))
        )
        self._chosen: ChosenTeacher | None = None
        self.ledger: Ledger | None = None
        self.facts: dict[str, Any] = {
            "model": " + ".join(each.card.model for each in networks) or config.weights,
            "parameters": sum(each.num_parameters for each in networks) or None,
            "num_classes": len(source.labels),
            "shared_classes": len(source.labels.shared_with(data.labels)),
            "fingerprint": network.fingerprint() if network else source.fingerprint,
            "accuracy": {},
        }

    @property
    def partial(self) -> bool:
        """Whether some samples of a batch may have no answer."""
        answers = self.config.answers
        some = len(self._division.answered) < len(self._division.train)
        return some or answers.plan is not None or (answers.budget is not None and answers.exhausted == "skip")

    @property
    def counts(self) -> bool:
        """Whether a ledger counts the calls of all ranks and of all attempts at this run."""
        return self.ledger is not None

    @property
    def calls(self) -> int:
        """Samples that this process, or with a ledger all of them, sent so far."""
        return self.source.calls if self.ledger is None else len(self.ledger)

    def account(self) -> dict[str, Any]:
        """What the ledger says, for the result; empty where nothing is kept."""
        if self.ledger is None:
            return {}
        return {"calls": len(self.ledger), "cost": self.ledger.cost, "budget": self.config.answers.budget}

    def provide(self, run: RunDir, images: ImageStore, *, roles: Sequence[str], batch_size: int) -> Teacher:
        """The teacher as the loop asks it.

        Args:
            run: Keeps the ledger.
            images: The training images, where the batches are.
            roles: The features that the methods read.
            batch_size: Images a step.

        Raises:
            DataError: if the cache or the ledger belongs to another teacher.
            ConfigError: if the budget cannot suffice, or is below what the ledger holds.
        """
        self.source.listen(roles)
        teacher, answers = self.source, self.config.answers
        if self._cached:
            store = self.open_store(roles)
            self.ledger = Ledger(Path(answers.ledger or run.path / LEDGER), run=run.path.name)
            self._check_enough(store, batch_size)
            counted = BudgetedTeacher(
                teacher,
                self.ledger,
                budget=answers.budget,
                price=answers.price_per_call,
                exhausted="skip" if answers.plan else answers.exhausted,
            )
            teacher = CachedTeacher(counted, store)
        if self.view != "same":
            teacher = FixedViewTeacher(teacher, images, self.views, plain=self.view == "plain")
        if answers.plan or len(self._division.answered) < len(self._division.train):
            teacher = self._chosen = ChosenTeacher(teacher, len(self._data.train))
            if not answers.plan:
                self._chosen.choose(self._division.answered)
        teacher.listen(roles)
        return teacher

    def open_store(self, roles: Sequence[str], *, dense: bool = False) -> AnswerStore:
        """The cache of this teacher's answers: one that keeps more than is wanted serves as well.

        Args:
            roles: The features to keep.
            dense: Whether a new one is to hold most views of every image, which it then packs.

        Raises:
            DataError: if the folder is a cache of other answers.
        """
        answers, source = self.config.answers, self.source
        taps = tuple((role, tuple(source.shapes[role])) for role in sorted(roles))
        subject = Subject(
            teacher=source.fingerprint,
            views=self.views.fingerprint,
            data=self._data.train.checksum,
            content=Content(num_classes=len(source.labels), taps=taps, top=answers.top),
        )
        folder = answers_folder() if answers.cache in ("auto", "on") else Path(answers.cache)
        if folder.is_dir() and not (folder / subject.name).exists():
            for store in stores_in(folder):
                if _holds(store.subject, subject):
                    return store
        return AnswerStore(folder, subject, dense=dense)

    def shown(self, ids: Int64[Tensor, " n"], *, epoch: int) -> Int64[Tensor, " n"]:
        """The view of each image that the teacher is shown in an epoch."""
        if self.view == "same":
            return self.views.draw(ids, epoch=epoch)
        return fixed_views(self.views, ids, plain=self.view == "plain")

    def check_room(self, ids: Tensor, views: Tensor, *, who: str, then: str) -> None:
        """Refuse a budget that is certain to be spent in the middle, where that would be an error.

        Args:
            ids: What is to be sent.
            views: The view of each.
            who: That sends them.
            then: How the sentence goes on: what to do about it.

        Raises:
            ConfigError: with both numbers.
        """
        budget = self.config.answers.budget
        if budget is None or self.ledger is None or not self._must_suffice:
            return
        # A process that died had reserved some that were never answered: these are sent again and count once.
        new, room = int((~self.ledger.holds(ids, views)).sum()), budget - len(self.ledger)
        if new > room:
            raise ConfigError(
                f"{who} sends {new:,} images and the budget of {budget:,} teacher calls has room for "
                f"{max(room, 0):,}{then}"
            )

    def _check_enough(self, store: AnswerStore, batch_size: int) -> None:
        answers, ids = self.config.answers, self._division.answered
        advice = "raise it, let --teacher.plan choose, or go on without the rest with --teacher.exhausted skip"
        if self.view != "same":
            numbers = self.shown(ids, epoch=0)
            missing = ~store.get(ids, numbers)[1]
            self.check_room(ids[missing], numbers[missing], who="this run", then=f": {advice}")
        elif self._must_suffice and (answers.budget or 0) < min(batch_size, len(ids)):
            raise ConfigError(
                f"the budget of {answers.budget} teacher calls is below the batch of {batch_size}: {advice}"
            )

    @property
    def _must_suffice(self) -> bool:
        """Whether the run has a budget whose end would be an error."""
        answers = self.config.answers
        return answers.budget is not None and answers.exhausted == "error" and not answers.plan

    def choose(self, run: RunDir, seed: int, *, embed: Callable[[Tensor], Tensor], fabric: "Fabric") -> None:
        """Make the plan, or read the one that the run made before; nothing where none is wanted.

        Args:
            run: Keeps the plan.
            seed: Of random plans.
            embed: From ids to features of the student.
            fabric: Knows the ranks: the first one plans.
        """
        answers = self.config.answers
        if answers.plan is None or self._chosen is None or answers.budget is None:
            return
        if not (run.path / "plan.json").exists() and fabric.is_global_zero:
            ids = self._division.answered
            count = min(answers.budget, len(ids))
            if answers.plan == "random":
                plan = random_plan(ids, count, seed=seed)
            elif answers.plan == "balanced":
                plan = balanced_plan(ids, self._data.train.labels[ids], count, seed=seed)
            else:
                pixels = answers.plan == "k-centre-pixels"
                features = self._data.train.images[ids].flatten(1).float() / 255 if pixels else embed(ids)
                plan = k_centre_plan(ids, features, count, seed=seed)
            run.write_json("plan.json", {"plan": answers.plan, "ids": plan.tolist()})
        fabric.barrier()
        self._chosen.choose(torch.tensor(run.read_json("plan.json")["ids"], dtype=torch.int64))

    def follow(self, student: Network, epoch: float, fabric: "Fabric") -> None:
        """Let a teacher that is a copy of the student move with it, alike on every rank."""
        if isinstance(self.source, MovingTeacher):
            share_buffers(student, fabric)
            self.source.after_step(student, epoch)

    def state_dict(self) -> dict[str, Any]:
        """The state of a teacher that moves; empty for all others."""
        return self.source.state_dict() if isinstance(self.source, MovingTeacher) else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        if isinstance(self.source, MovingTeacher):
            self.source.load_state_dict(state)


def _networks_of(source: Teacher) -> list[Network]:
    """The networks in memory that answer."""
    if isinstance(source, LiveTeacher):
        return [source.network]
    parts = source.teachers if isinstance(source, AveragingTeacher) else ()
    return [network for each in parts for network in _networks_of(each)]


def _holds(held: Subject, wanted: Subject) -> bool:
    """Whether a cache keeps all that is wanted, and more: its answers then need not be bought again."""
    same = (held.teacher, held.views, held.data) == (wanted.teacher, wanted.views, wanted.data)
    return same and held.content.top == wanted.content.top and set(wanted.content.taps) <= set(held.content.taps)
