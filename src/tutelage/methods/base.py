"""What every method is: a frozen config that builds a module, and a module that turns answers into terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from tutelage.labels import Relation
from tutelage.ops.checks import check_positive
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = [
    "Method",
    "MethodConfig",
    "Needs",
    "Phase",
    "WarmingMethod",
    "ensemble_of",
    "is_taught",
    "learns_from_peers",
    "phases_of",
    "replaces_labels",
]


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
        labelled: Whether it reads labels as columns of the logits: where these are cut down to the classes that the
            teacher knows, samples of other classes are then left to the cross-entropy.
        trains: Whose weights its stage trains. ``"method"``: its own alone, such as an auto-encoder of the teacher's
            features; the student is then not run, there is no cross-entropy, and ``forward`` is given the teacher's
            outputs twice.
        judge: What chooses the best epoch of its stage: the accuracy of the logits, that of the nearest class mean
            of the role ``embedding``, or nothing. A stage that trains the method alone has nothing to judge.
        figures: Whether it has numbers to watch: at each validation, :meth:`Method.figures` is then shown what student
            and teacher say of a few validation images.
    """

    labels: tuple[Relation, ...] = ("same", "overlap", "disjoint")
    roles: tuple[str, ...] = ()
    compares_samples: bool = False
    at_least: int = 1
    teacher: bool = True
    peers: bool = False
    images_per_class: int | None = None
    group_size: int | None = None
    labelled: bool = False
    trains: Literal["student", "method"] = "student"
    judge: Literal["accuracy", "ncm", "none"] = "accuracy"
    figures: bool = False


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

    def follow(self, earlier: Mapping[str, "Method"]) -> None:
        """Once before :meth:`prepare`, also after a resume: the methods of the earlier stages, by name of the stage.

        A method copies what it reads of them into modules or buffers of its own, which ``build`` made and froze, so
        that its ``state_dict`` is whole. None of them may be there: the first stage is told of no earlier ones.
        """

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Once before training; ``batches()`` passes over the un-augmented training set."""

    @abstractmethod
    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of one batch, by name."""

    def figures(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """Scalars to watch, by name; called at each validation, without gradient, where ``needs.figures`` says so.

        They choose nothing and are not minimised. It must draw no random number: a resumed run repeats them.
        """
        return {}

    def after_step(self, epoch: float) -> None:
        """Once after each optimiser step; ``epoch`` counts finished epochs, with a fraction."""


class WarmingMethod(Method):
    """A method whose weights depend on how far the training is; resume goes on where it stopped.

    Args:
        needs: What it must be given.
    """

    def __init__(self, needs: Needs) -> None:
        super().__init__(needs)
        self.epoch = 0.0

    def warmth(self, epochs: float) -> float:
        """A share that rises linearly from 0 to 1 over so many epochs; 1 where there are none."""
        return min(1.0, self.epoch / epochs) if epochs else 1.0

    def after_step(self, epoch: float) -> None:
        """Go on."""
        self.epoch = epoch

    def get_extra_state(self) -> dict[str, Any]:
        """How far it is."""
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.epoch = state["epoch"]


@runtime_checkable
class MethodConfig(Protocol):
    """A frozen, keyword-only dataclass: the settings of a method, with the paper's defaults.

    Attributes:
        name: What the method is called in :data:`tutelage.methods.METHODS`; of a sum, how it is written.
        task_weight: The weight of the cross-entropy beside it.

    A config whose method needs no teacher has an attribute ``teacher_free`` that is True; one that learns from peers
    has ``peers`` that is True as well. One that needs stages before its own has ``before``, a tuple of :class:`Phase`.
    One that teaches the labels in the place of the cross-entropy has ``labels_inside`` that is True.
    One whose networks learn from what all of them say together has ``ensemble``, which :func:`ensemble_of` calls.
    """

    @property
    def name(self) -> str:
        """What the method is called."""

    @property
    def task_weight(self) -> float:
        """The weight of the cross-entropy beside the method."""

    def build(self, student: Shapes, teacher: Shapes) -> Method:
        """Make the module for networks of these shapes."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stage that a method needs before its own.

    Args:
        name: Of the stage; :meth:`Method.follow` finds its method under it.
        method: What is minimised in it.
        epochs: How long it is, as a share of the epochs of the method's own stage; at least one epoch.
        lr: Highest learning rate; None for that of the method's own stage.
    """

    name: str
    method: MethodConfig
    epochs: float
    lr: float | None = None

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs)
        if self.lr is not None:
            check_positive(lr=self.lr)


def phases_of(config: MethodConfig | None) -> tuple[Phase, ...]:
    """The stages that a method needs before its own, in order.

    Example:
        >>> from tutelage.methods import KDConfig
        >>> phases_of(KDConfig()), phases_of(None)
        ((), ())
    """
    return tuple(getattr(config, "before", ()))


def is_taught(config: MethodConfig | None) -> bool:
    """Whether a method, or a stage that it brings along, needs a teacher; labels alone (``None``) need none.

    Example:
        >>> from tutelage.methods import DMLConfig, KDConfig
        >>> is_taught(KDConfig()), is_taught(DMLConfig()), is_taught(None)
        (True, False, False)
    """
    if config is None:
        return False
    return not getattr(config, "teacher_free", False) or any(is_taught(phase.method) for phase in phases_of(config))


def replaces_labels(config: MethodConfig | None) -> bool:
    """Whether a method teaches the labels in the place of the cross-entropy, beside which it has no weight then.

    Example:
        >>> from tutelage.methods import KDConfig, LabelSmoothingConfig
        >>> replaces_labels(LabelSmoothingConfig()), replaces_labels(KDConfig())
        (True, False)
    """
    return bool(getattr(config, "labels_inside", False))


def learns_from_peers(config: MethodConfig | None) -> bool:
    """Whether a method learns from networks that learn at the same time.

    Example:
        >>> from tutelage.methods import DMLConfig, KDConfig
        >>> learns_from_peers(DMLConfig()), learns_from_peers(KDConfig())
        (True, False)
    """
    return bool(getattr(config, "peers", False))


def ensemble_of(config: MethodConfig, networks: Sequence[Shapes]) -> nn.Module | None:
    """What lets the networks of a cohort speak together: their answers → one answer, with gradient to all of them.

    It has weights of its own, and the cross-entropy of its answer is minimised beside those of the networks. Each of
    these learns by the method from that answer, detached, as from a teacher; ``prepare`` is not called.

    Args:
        config: Of the method.
        networks: The shapes of each network's outputs.

    Returns:
        The module; None for a method whose networks learn from each other.

    Example:
        >>> from tutelage.methods import DMLConfig, ONEConfig
        >>> shapes = [{"logits": (2,), "embedding": (3,)}] * 2
        >>> ensemble_of(DMLConfig(), shapes), type(ensemble_of(ONEConfig(), shapes)).__name__
        (None, 'Gate')
    """
    make: Callable[[Sequence[Shapes]], nn.Module] | None = getattr(config, "ensemble", None)
    return make(networks) if make else None
