"""Methods that add up: ``0.5 * KDConfig() + RKDConfig()``, on the command line ``--method 0.5*kd+rkd``.

Every part keeps its own settings and sees the same answers: each network runs once a step, however many parts there
are. What they need is merged, or refused with the reason where no batch, teacher or stage could give it to all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.methods.base import (
    Method,
    MethodConfig,
    Phase,
    is_taught,
    learns_from_peers,
    phases_of,
    replaces_labels,
)
from tutelage.methods.sum.parts import merged, numbered
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["Sum", "SumConfig", "Summable"]


class Summable:
    """A config of a method that can be added to others and weighted."""

    def __add__(self: MethodConfig, other: MethodConfig) -> "SumConfig":
        """Both methods at once."""
        return SumConfig.of([self, other])

    def __rmul__(self: MethodConfig, weight: float | int) -> "SumConfig":
        """The method with all its terms weighted."""
        return SumConfig.of([self], weights=[float(weight)])


@dataclass(frozen=True, kw_only=True)
class SumConfig(Summable):
    """Settings of a sum; made by ``+``, ``*`` and :meth:`of`.

    The cross-entropy has the largest weight that a part gives it, whatever the weights of the parts. A smaller one is
    what a method shares with the labels while it is alone (KD 0.1 beside its 0.9), or says that it does without (CKD);
    neither is a reason to take the labels from the others. Where a part teaches the labels in the place of the
    cross-entropy, as label smoothing does, that part says how much is left of it: none. Another weight is set by
    ``replace(a + b, task_weight=0.1)``.

    Args:
        parts: The methods.
        weights: What the terms of each are multiplied with, beside the weights of its own.
        task_weight: Of the cross-entropy.

    Raises:
        ConfigError: if some learn from peers and others from a teacher, or a weight is out of range.

    Example:
        KD with label smoothing in the place of its share of cross-entropy:

        >>> from tutelage.methods import KDConfig, LabelSmoothingConfig
        >>> both = 0.1 * LabelSmoothingConfig() + KDConfig(temperature=2.0)
        >>> both.name, both.task_weight
        ('0.1*label_smoothing+kd', 0.0)
    """

    parts: tuple[MethodConfig, ...]
    weights: tuple[float, ...]
    task_weight: float

    def __post_init__(self) -> None:
        if not self.parts or len(self.weights) != len(self.parts):
            raise ConfigError(f"a sum needs one weight a part, got {len(self.weights)} for {len(self.parts)} parts")
        for key, weight in zip(self.keys, self.weights, strict=True):
            check_positive(**{f"the weight of {key}": weight})
        check_non_negative(task_weight=self.task_weight)
        self._check_sources()

    def _check_sources(self) -> None:
        among = [part.name for part in self.parts if learns_from_peers(part)]
        taught = [part.name for part in self.parts if is_taught(part)]
        together = [part.name for part in self.parts if _ensemble(part)]
        if among and taught:
            raise ConfigError(
                f"{among[0]} learns from peers and {taught[0]} from a teacher, and a run has one of them: "
                f"leave out one of the two"
            )
        if together and len(among) > 1:
            other = next((name for name in among if name != together[0]), together[0])
            raise ConfigError(
                f"with {together[0]} every network learns from the ensemble alone, and {other} learns from peers too: "
                f"leave out one of the two"
            )

    @classmethod
    def of(
        cls, parts: Sequence[MethodConfig], *, weights: Sequence[float] = (), task_weight: float | None = None
    ) -> "SumConfig":
        """The sum of several methods; a part that is a sum itself is opened.

        Args:
            parts: The methods.
            weights: One a part; by default one.
            task_weight: Of the cross-entropy; by default the largest of the parts', or what the part leaves that
                teaches the labels in its place.
        """
        flat = [
            (weight * inner, member)
            for weight, part in zip(weights or [1.0] * len(parts), parts, strict=True)
            for inner, member in _opened(part)
        ]
        inside = [part.task_weight for part in parts if replaces_labels(part)]
        usual = min(inside) if inside else max((part.task_weight for part in parts), default=0.0)
        return cls(
            parts=tuple(member for _, member in flat),
            weights=tuple(weight for weight, _ in flat),
            task_weight=usual if task_weight is None else task_weight,
        )

    @property
    def name(self) -> str:
        """How the sum is written: ``0.5*kd+rkd``."""
        return "+".join(
            part.name if weight == 1 else f"{_written(weight)}*{part.name}"
            for weight, part in zip(self.weights, self.parts, strict=True)
        )

    @property
    def keys(self) -> tuple[str, ...]:
        """A name for each part: that of its method, with a number from the second of one method on."""
        return numbered([part.name for part in self.parts])

    @property
    def labels_inside(self) -> bool:
        """Whether a part teaches the labels in the place of the cross-entropy."""
        return any(map(replaces_labels, self.parts))

    @property
    def teacher_free(self) -> bool:
        """Whether none of the parts needs a teacher."""
        return not any(map(is_taught, self.parts))

    @property
    def peers(self) -> bool:
        """Whether a part learns from networks that learn at the same time."""
        return any(map(learns_from_peers, self.parts))

    @property
    def ensemble(self) -> Callable[[Sequence[Shapes]], nn.Module] | None:
        """What lets the networks of a cohort speak together, where a part wants it."""
        return next(filter(None, map(_ensemble, self.parts)), None)

    @property
    def before(self) -> tuple[Phase, ...]:
        """The stages that the parts need before their own, in the order of the parts; equal ones once."""
        return tuple({phase.name: phase for own in self.phases.values() for phase in own.values()}.values())

    @property
    def phases(self) -> dict[str, dict[str, Phase]]:
        """Part → its name for a stage → that stage, under another name where two parts call theirs alike."""
        taken: dict[str, Phase] = {}
        found: dict[str, dict[str, Phase]] = {}
        for key, part in zip(self.keys, self.parts, strict=True):
            found[key] = {}
            for phase in phases_of(part):
                clear = taken.get(phase.name, phase) == phase
                stage = phase if clear else replace(phase, name=f"{key}-{phase.name}")
                taken[stage.name] = found[key][phase.name] = stage
        return found

    def build(self, student: Shapes, teacher: Shapes) -> "Sum":
        """Make the modules.

        Raises:
            ConfigError: if no batch, teacher or stage gives all parts what they need.
            TutelageError: if a part does not fit the networks.
        """
        parts = [part.build(student, teacher) for part in self.parts]
        return Sum(self, dict(zip(self.keys, parts, strict=True)))


class Sum(Method):
    """Several methods at once.

    A part that needs neither teacher nor peers is given the student's own answers, detached, as it would be alone.

    Args:
        config: Its settings.
        parts: The modules by the keys of the config.
    """

    def __init__(self, config: SumConfig, parts: Mapping[str, Method]) -> None:
        super().__init__(merged({key: part.needs for key, part in parts.items()}))
        self.config = config
        self._members = nn.ModuleList(parts.values())  # a ModuleDict knows no part called as one of its own methods
        alone = next((key for key, part in parts.items() if _remembers_itself(part)), None)
        if alone is not None and (self.needs.teacher or self.needs.peers):
            raise ConfigError(
                f"{alone} is prepared with the student's own answers, and other parts of {config.name} with those of "
                f"a teacher or peers: leave out one of the two"
            )

    @property
    def parts(self) -> dict[str, Method]:
        """The modules by their keys."""
        return dict(zip(self.config.keys, self._members, strict=True))  # type: ignore[arg-type]

    def follow(self, earlier: Mapping[str, Method]) -> None:
        """Let each part find its own earlier stages under its own names."""
        for key, part in self.parts.items():
            stages = self.config.phases[key].items()
            part.follow({**earlier, **{name: earlier[stage.name] for name, stage in stages if stage.name in earlier}})

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Prepare each part; each that reads the training set passes over it by itself."""
        for part in self.parts.values():
            part.prepare(teacher, batches)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of all parts: ``rkd.angle``, and ``kd`` alone where the term has the name of its method."""
        terms = {}
        for (key, part), config, weight in zip(self.parts.items(), self.config.parts, self.config.weights, strict=True):
            heard = teacher if part.needs.teacher or part.needs.peers else _detached(student)
            for name, term in part(student, heard, batch).items():
                terms[_named(key, config, name)] = Term(term.value, weight * term.weight)
        return terms

    def figures(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """Those of all parts, named as their terms are: ``iekd.cka_inheritance``."""
        return {
            _named(key, config, name): value
            for (key, part), config in zip(self.parts.items(), self.config.parts, strict=True)
            for name, value in part.figures(
                student, teacher if part.needs.teacher or part.needs.peers else student
            ).items()
        }

    def after_step(self, epoch: float) -> None:
        """Tell every part."""
        for part in self.parts.values():
            part.after_step(epoch)


def _opened(config: MethodConfig) -> list[tuple[float, MethodConfig]]:
    if isinstance(config, SumConfig):
        return list(zip(config.weights, config.parts, strict=True))
    return [(1.0, config)]


def _named(key: str, config: MethodConfig, name: str) -> str:
    """What a term or figure of a part is called in the sum."""
    return key if name == config.name else f"{key}.{name}"


def _ensemble(config: MethodConfig) -> Any:
    return getattr(config, "ensemble", None)


def _written(weight: float) -> str:
    short = f"{weight:g}"
    return (short if float(short) == weight else repr(weight)).replace("e+", "e")


def _remembers_itself(part: Method) -> bool:
    return not (part.needs.teacher or part.needs.peers) and type(part).prepare is not Method.prepare


def _detached(outputs: Outputs) -> Outputs:
    return Outputs(outputs.logits.detach(), {role: value.detach() for role, value in outputs.taps.items()})
