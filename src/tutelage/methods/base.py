"""What every method is: a frozen config that builds a module, and a module that turns answers into terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from torch import nn

from tutelage.labels import Relation
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["Method", "MethodConfig", "Needs", "is_taught", "learns_from_peers"]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method must be given.

    Args:
        labels: How the teacher's classes may relate to the student's.
        roles: The features it reads, of student and teacher alike.
        compares_samples: Whether a sample's term depends on the other samples of the batch; over several
            ranks the batch is then gathered, with gradient.
        at_least: Answered samples that a batch must have: with fewer, its terms are left out of that batch.
        teacher: Whether it needs one; without, it is given the student's own answers, detached.
        peers: Whether it learns from networks that learn at the same time; it is then given theirs, detached.
        images_per_class: Batches hold so many images of each of their classes, where the user says nothing else.
        group_size: Batches consist of groups of that many different samples side by side (a sampler of the data
            forms them); ``None``: of samples.
    """

    labels: tuple[Relation, ...] = ("same", "overlap", "disjoint")
    roles: tuple[str, ...] = ()
    compares_samples: bool = False
    at_least: int = 1
    teacher: bool = True
    peers: bool = False
    images_per_class: int | None = None
    group_size: int | None = None


class Method(nn.Module, ABC):
    """Turns the answers of student and teacher into weighted terms.

    A method runs no network, adds no cross-entropy, reads no file and knows no rank. What it trains is a
    parameter, what it remembers a buffer or extra state, so that its ``state_dict`` holds all of it.

    Args:
        needs: What it must be given.
    """

    def __init__(self, needs: Needs) -> None:
        super().__init__()
        self.needs = needs

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Once before training; ``batches()`` passes over the un-augmented training set."""

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of one batch, by name."""

    def after_step(self, epoch: float) -> None:
        """Once after each optimiser step; ``epoch`` counts finished epochs, with a fraction."""


@runtime_checkable
class MethodConfig(Protocol):
    """A frozen, keyword-only dataclass: the settings of a method, with the paper's defaults.

    Attributes:
        name: What the method is called in :data:`tutelage.methods.METHODS`.
        task_weight: The weight of the cross-entropy beside it.

    A config whose method needs no teacher has an attribute ``teacher_free`` that is True; one that learns from peers
    has ``peers`` that is True as well.
    """

    name: ClassVar[str]

    @property
    def task_weight(self) -> float:
        """The weight of the cross-entropy beside the method."""

    def build(self, student: Shapes, teacher: Shapes) -> Method:
        """Make the module for networks of these shapes."""


def is_taught(config: MethodConfig | None) -> bool:
    """Whether a method needs a teacher; labels alone (``None``) need none.

    Example:
        >>> from tutelage.methods import DMLConfig, KDConfig
        >>> is_taught(KDConfig()), is_taught(DMLConfig()), is_taught(None)
        (True, False, False)
    """
    return config is not None and not getattr(config, "teacher_free", False)


def learns_from_peers(config: MethodConfig | None) -> bool:
    """Whether a method learns from networks that learn at the same time.

    Example:
        >>> from tutelage.methods import DMLConfig, KDConfig
        >>> learns_from_peers(DMLConfig()), learns_from_peers(KDConfig())
        (True, False)
    """
    return bool(getattr(config, "peers", False))
