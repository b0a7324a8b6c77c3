"""A run's teacher as data: which one, what its answers cost, and how they are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_non_negative

__all__ = ["AnswersConfig", "HttpConfig", "TeacherConfig"]


@dataclass(frozen=True, kw_only=True)
class HttpConfig:
    """How a server is asked; checked by :class:`tutelage.teachers.HttpTeacher`, whose defaults these are.

    Args:
        timeout: Seconds to connect, and to wait between two pieces of a reply.
        retries: How often a request that failed is sent again.
        backoff: Seconds; the wait before retry i is drawn from 0 to backoff · 2^i.
        rate: Most requests a second.
        concurrency: Requests under way at once.
        body: How tensors travel.
    """

    timeout: float = 30.0
    retries: int = 5
    backoff: float = 0.5
    rate: float | None = None
    concurrency: int = 4
    body: Literal["raw", "json"] = "raw"


@dataclass(frozen=True, kw_only=True)
class AnswersConfig:
    """What a teacher is asked, how often at most, and where its answers are kept.

    Args:
        cache: Keep answers on disk and never ask twice: on, off, a folder, or auto, which is on where calls cost
            (a budget, a price, a remote teacher) or where an image has one view. On is ``$TUTELAGE_CACHE/answers``.
        average: Of several teachers: the mean of their logits, which is the geometric mean of their distributions at
            every temperature, or of their probabilities.
        top: Keep only that many of the largest probabilities, and the mass of the rest.
        view: What the teacher is shown: the same view as the student, one random view of an image for the whole run,
            or the plain image; by default what the protocol of the data says, else the same.
        budget: The most samples that this run may send.
        price_per_call: What a sample costs, in the user's currency.
        exhausted: When the budget is spent: stop with an error, or skip the method's terms for samples without an
            answer, which then learn from their labels.
        plan: Which images the budget buys: first come first served, random ones, equally many a class, or the
            centres that cover the data (by pixels, or by the student's features when its first stage begins).
        ledger: The file in which every call is noted; by default ledger.sqlite in the run's directory. Runs that
            share one share the budget.
    """

    cache: str = "auto"
    average: Literal["logits", "probabilities"] = "logits"
    top: int | None = None
    view: Literal["same", "once", "plain"] | None = None
    budget: int | None = None
    price_per_call: float = 0.0
    exhausted: Literal["error", "skip"] = "error"
    plan: Literal["random", "balanced", "k-centre-pixels", "k-centre-student"] | None = None
    ledger: str | None = None

    def __post_init__(self) -> None:
        check_non_negative(price_per_call=self.price_per_call)
        if self.budget is not None and self.budget < 1:
            raise ConfigError(f"a budget of teacher calls must be at least 1, got {self.budget}: leave the teacher out")
        if self.top is not None and self.top < 1:
            raise ConfigError(f"top must be at least 1, got {self.top}: leave it out to keep all logits")
        if not self.cache:
            raise ConfigError("cache must be auto, on, off or a folder, got an empty name")
        if self.cache == "off" and (self.budget or self.price_per_call):
            raise ConfigError("calls that cost are kept, so that none is paid twice: leave out cache=off")
        if self.plan and self.budget is None:
            raise ConfigError(f"the plan {self.plan!r} chooses what a budget buys, and none is given: name one")
        if self.plan and self.view == "same":
            raise ConfigError(f"the plan {self.plan!r} buys one answer an image: set view to once or plain")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The network that teaches.

    Args:
        weights: A run directory, a .safetensors file with its card beside it, the http:// address of a server that
            speaks the protocol of `tutelage serve-teacher`, python:pkg.module:function, or ema or snapshot for a copy
            of the student; or several stored networks, written with commas between them, whose mean it is.
        gives: What a Python function answers with.
        classes: A file with the names of its classes, where its card has none or others: a list in the order of its
            logits, or a map from its names to the student's (.json, .csv or .txt, see `tutelage distill --help`).
        shared_only: Methods of logits compare the classes that teacher and student share, where they are not the same.
        batch_size: Largest number of images it sees at once.
        taps: Role → module path, where the model's own roles do not fit.
        allow_bad: Go on with a teacher that is no better than chance.
        answers: What it is asked, and what becomes of the answers.
        http: How a server is asked.
    """

    weights: str
    gives: Literal["logits", "probabilities"] = "logits"
    classes: str | None = None
    shared_only: bool = False
    batch_size: int | None = None
    taps: Mapping[str, str] = field(default_factory=dict)
    allow_bad: bool = False
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    http: HttpConfig = field(default_factory=HttpConfig)

    def __post_init__(self) -> None:
        for name in self.members if self.kind == "several" else ():
            if not name or replace(self, weights=name).kind != "network":
                raise ConfigError(
                    f"teachers that are averaged are stored networks, with commas between them; got {name!r} in "
                    f"{self.weights!r}: leave it out"
                )
        if self.classes is not None and self.kind == "student":
            raise ConfigError(f"the teacher {self.weights!r} has the student's classes: leave out classes")

    @property
    def kind(self) -> Literal["network", "several", "server", "function", "student"]:
        """What ``weights`` names: a stored network or several, a server, a Python function, a copy of the student."""
        if self.weights in ("ema", "snapshot") and not Path(self.weights).exists():
            return "student"
        if self.weights.startswith(("http://", "https://")):
            return "server"
        if self.weights.startswith("python:"):
            return "function"
        return "several" if "," in self.weights and not Path(self.weights).exists() else "network"

    @property
    def members(self) -> tuple[str, ...]:
        """Each of the networks that ``weights`` names; empty where it names none."""
        if self.kind == "several":
            return tuple(name.strip() for name in self.weights.split(","))
        return (self.weights,) if self.kind == "network" else ()

    @property
    def costs(self) -> bool:
        """Whether a call may cost something: the teacher is not ours, or its calls have a budget or a price."""
        priced = self.answers.budget is not None or self.answers.price_per_call > 0
        return priced or self.kind in ("server", "function")
