"""IE-KD: half of the student's channels inherit the teacher's factor, the other half explore away from it.

The form ``ft`` is that of the release; ``at`` and ``od`` are reconstructed from the paper. The split is kept in the
state (the release draws it anew on resume). Maps of different size are compared by pooling the larger factor; tokens
and vectors have linear coders. The student may be larger than the teacher.

Each validation writes ``cka_inheritance`` and ``cka_exploration`` to ``metrics.jsonl``, linear CKA of the halves and
the teacher's feature on 256 validation images. `tutelage relate` adds the share of active channels of each half,
pictures of where they answer, and the accuracy under noise on the weights.

Paper: Huang, Shen et al. Revisiting Knowledge Distillation: Inheritance and Exploration. CVPR 2021. arXiv 2107.00181
Code: aliyun/Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework@3274ab0
Reads: stage2
Labels: any
Trains: the student and an encoder of each half; in a stage before, the teacher's auto-encoder
Differs: roles are the paper's (the release swaps them); the last stage that both have; l2 takes a root a sample
Results: benchmarks/cifar100/iekd.md
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods.adapters.auto_encoder import FrozenEncoder, coder, factors_of, phase
from tutelage.methods.adapters.halves import Split, check_halves, similarities
from tutelage.methods.adapters.overhauled import Overhauled, find_margins
from tutelage.methods.adapters.places import channels_first, channels_of, paired_features, same_places
from tutelage.methods.adapters.stages import last_feature
from tutelage.methods.base import Method, Needs, Phase
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["IEKD", "IEKDConfig"]

_WEIGHTS = {"ft": (50.0, 50.0), "at": (1000.0, 1000.0), "od": (1e-3, 50.0)}
"""Of inheritance and exploration; those of AT and OFD where they stand for one of the two."""


@dataclass(frozen=True, kw_only=True)
class IEKDConfig(Summable):
    """Settings of IE-KD.

    Args:
        form: What the halves are compared by: distances of factors (``ft``, the release); attention maps (``at``); or
            OFD's partial distance for inheritance and factors for exploration (``od``).
        inherit: Weight of inheritance; None: 50 (ft), 1000 (at) or 0.001 (od). 0 leaves the term out.
        explore: Weight of exploration; None: 50 (ft, od) or 1000 (at). 0 leaves the term out.
        ratio: Share of the student's channels that inherit: 0 is exploration only, 1 inheritance only; the term of the
            half that is missing is left out.
        split: The first channels inherit (natural), or a random choice of them.
        split_seed: Of that choice.
        distance: Of factors.
        factor_rate: Channels of a factor, as a share of those of the teacher's feature.
        encoder_epochs: Length of the stage that trains the auto-encoder, as a share of the student's: 30 of 160.
        role: The feature; None: the last stage that both networks have, or the embedding.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "iekd"
    form: Literal["ft", "at", "od"] = "ft"
    inherit: float | None = None
    explore: float | None = None
    ratio: float = 0.5
    split: Literal["natural", "random"] = "natural"
    split_seed: int = 0
    distance: Literal["l1", "l2", "cosine"] = "l1"
    factor_rate: float = 0.5
    encoder_epochs: float = 0.1875
    role: str | None = None
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in _WEIGHTS:
            raise ConfigError(f"form must be one of ft, at, od, got {self.form!r}")
        check_halves(ratio=self.ratio, split=self.split, distance=self.distance)
        check_positive(factor_rate=self.factor_rate, encoder_epochs=self.encoder_epochs)
        inherit, explore = self.weights
        check_non_negative(inherit=inherit, explore=explore, task_weight=self.task_weight)
        if self.form == "at" and self.distance != "l1":
            raise ConfigError(f"distance is one of factors, and the form 'at' has none: leave out {self.distance!r}")

    @property
    def weights(self) -> tuple[float, float]:
        """Of inheritance and exploration."""
        inherit, explore = _WEIGHTS[self.form]
        return inherit if self.inherit is None else self.inherit, explore if self.explore is None else self.explore

    @property
    def inherits(self) -> bool:
        """Whether there is a term of inheritance."""
        return self.ratio > 0 and self.weights[0] > 0

    @property
    def explores(self) -> bool:
        """Whether there is a term of exploration."""
        return self.ratio < 1 and self.weights[1] > 0

    @property
    def has_factors(self) -> bool:
        """Whether a term reads the teacher's factor."""
        return (self.form == "ft" and self.inherits) or (self.form != "at" and self.explores)

    @property
    def before(self) -> tuple[Phase, ...]:
        """The stage that trains the auto-encoder, where a term reads its factor."""
        return (phase(self.role, self.factor_rate, self.encoder_epochs),) if self.has_factors else ()

    def build(self, student: Shapes, teacher: Shapes) -> "IEKD":
        """Make the module; its encoders fit the two features.

        Raises:
            UnknownNameError: if one of the networks has no such feature; names the nearest.
            ShapeError: if the feature is of another kind in each, or has too few channels or no places.
        """
        role = self.role or last_feature(student, teacher)
        ours, theirs = paired_features(self.name, role, student, teacher)
        if self.form == "at" and len(ours) == 1:
            raise ShapeError(f"the form 'at' compares where networks attend to, and {role!r} is a vector: name a map")
        return IEKD(self, role, ours, theirs)


class IEKD(Method):
    """Inheritance and exploration.

    Args:
        config: Its settings.
        role: The feature.
        ours: Shape of the student's.
        theirs: Shape of the teacher's.
    """

    def __init__(self, config: IEKDConfig, role: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        # Through the batch norm of its encoders samples depend on each other; attention maps need none.
        alone = config.form == "at" or not (config.inherits or config.explores)
        super().__init__(Needs(roles=(role,), compares_samples=not alone, at_least=1 if alone else 2, figures=True))
        self.config, self.role = config, role
        self.split = Split(channels_of(ours), ratio=config.ratio, order=config.split, seed=config.split_seed)
        self.encoder = FrozenEncoder(theirs, config.factor_rate) if config.has_factors else None
        factors = factors_of(theirs, config.factor_rate)
        self.inheriting: nn.Module | None = None
        self.exploring: nn.Module | None = None
        if config.inherits and config.form == "ft":
            self.inheriting = coder(len(self.split.inheriting), factors, shape=ours)
        if config.inherits and config.form == "od":
            self.inheriting = Overhauled(_of_width(ours, len(self.split.inheriting)), theirs)
        if config.explores and config.form != "at":
            self.exploring = coder(len(self.split.exploring), factors, shape=ours)

    def follow(self, earlier: Mapping[str, Method]) -> None:
        """Take over the teacher's encoder.

        Raises:
            ConfigError: if no earlier stage has trained it.
        """
        if self.encoder is not None:
            self.encoder.take(self.config.name, earlier)

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Find the margins of the teacher's feature, where OFD's distance needs them."""
        if isinstance(self.inheriting, Overhauled):
            find_margins({self.role: self.inheriting}, teacher, batches)

    def halves(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The inheriting and the exploring half of the student's feature, channels first.

        Args:
            feature: ``(n, c, h, w)``, ``(n, t, c)`` or ``(n, c)``, as the tap gives it.
        """
        inherited, explored = self.split(channels_first(feature))
        return inherited, explored

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``inheritance`` and ``exploration``, each where it has a half and a weight; the latter is negative."""
        cfg, terms = self.config, dict[str, Term]()
        inherited, explored = self.halves(student.taps[self.role])
        theirs = channels_first(teacher.taps[self.role])
        factor = self.encoder(theirs) if self.encoder is not None else theirs
        inherit, explore = cfg.weights
        if cfg.inherits:
            terms["inheritance"] = Term(self._inheritance(inherited, theirs, factor).mean(), inherit)
        if cfg.explores:
            terms["exploration"] = Term(self._exploration(explored, theirs, factor).mean(), explore)
        return terms

    def figures(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """``cka_inheritance`` and ``cka_exploration``, each where its half has channels."""
        return similarities(self.split, student.taps[self.role], teacher.taps[self.role])

    def _inheritance(self, half: Tensor, theirs: Tensor, factor: Tensor) -> Tensor:
        if self.inheriting is None:
            return losses.attention_transfer(*same_places(half, theirs))
        if isinstance(self.inheriting, Overhauled):
            found: Tensor = self.inheriting(half, theirs)
            return found
        return losses.inheritance(*same_places(self.inheriting(half), factor), distance=self.config.distance)

    def _exploration(self, half: Tensor, theirs: Tensor, factor: Tensor) -> Tensor:
        if self.exploring is None:
            return -losses.attention_transfer(*same_places(half, theirs))  # at least -2 / places
        return losses.exploration(*same_places(self.exploring(half), factor), distance=self.config.distance)


def _of_width(shape: tuple[int, ...], channels: int) -> tuple[int, ...]:
    return (channels, *shape[1:]) if len(shape) == 3 else (*shape[:-1], channels)
