"""FT: a translator brings the student's feature to the factor that an auto-encoder has found in the teacher's.

Factors are compared whole, as in the paper. RepDistiller compares their attention maps; its weight of 200 belongs to
those, the 500 of the paper and of IE-KD's release to these.

Paper: Kim, Park, Kwak. Paraphrasing Complex Network. NeurIPS 2018. arXiv 1802.04977
Code: aliyun/Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework@3274ab0 (processors/FT.py)
Reads: stage2
Labels: any
Trains: the student and the translator; in a stage before, the paraphraser
Differs: the last stage that both have; the paraphraser by absolute gaps, as in that code (the paper: squares)
Results: benchmarks/cifar100/README.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods.adapters.auto_encoder import FrozenEncoder, coder, factors_of, phase
from tutelage.methods.adapters.places import channels_first, channels_of, paired_features, same_places
from tutelage.methods.adapters.stages import last_feature
from tutelage.methods.base import Method, Needs, Phase
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["FT", "FTConfig"]


@dataclass(frozen=True, kw_only=True)
class FTConfig(Summable):
    """Settings of FT.

    Args:
        weight: Of the distance between the factors; it belongs to p = 1.
        p: Exponent of that distance.
        factor_rate: Channels of the factor, as a share of those of the teacher's feature.
        encoder_epochs: Length of the stage that trains the paraphraser, as a share of the student's: 30 of 160.
        role: The feature; None: the last stage that both networks have, or the embedding.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "ft"
    weight: float = 500.0
    p: float = 1.0
    factor_rate: float = 0.5
    encoder_epochs: float = 0.1875
    role: str | None = None
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(factor_rate=self.factor_rate, encoder_epochs=self.encoder_epochs)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)
        if not self.p >= 1:
            raise ConfigError(f"p must be at least 1, got {self.p}: below that it is no distance")

    @property
    def before(self) -> tuple[Phase, ...]:
        """The stage that trains the paraphraser."""
        return (phase(self.role, self.factor_rate, self.encoder_epochs),)

    def build(self, student: Shapes, teacher: Shapes) -> "FT":
        """Make the module; its translator fits the two features.

        Raises:
            UnknownNameError: if one of the networks has no such feature; names the nearest.
            ShapeError: if the feature is of another kind in each.
        """
        role = self.role or last_feature(student, teacher)
        ours, theirs = paired_features(self.name, role, student, teacher)
        return FT(self, role, ours, theirs)


class FT(Method):
    """Factor transfer.

    Args:
        config: Its settings.
        role: The feature.
        ours: Shape of the student's.
        theirs: Shape of the teacher's.
    """

    def __init__(self, config: FTConfig, role: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        # Through the translator's batch norm samples depend on each other.
        super().__init__(Needs(roles=(role,), compares_samples=True, at_least=2))
        self.config, self.role = config, role
        self.paraphraser = FrozenEncoder(theirs, config.factor_rate)
        self.translator = coder(channels_of(ours), factors_of(theirs, config.factor_rate), shape=ours)

    def follow(self, earlier: Mapping[str, Method]) -> None:
        """Take over the paraphraser.

        Raises:
            ConfigError: if no earlier stage has trained it.
        """
        self.paraphraser.take(self.config.name, earlier)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``factor``; the larger factor is pooled to the size of the smaller."""
        ours = self.translator(channels_first(student.taps[self.role]))
        theirs = self.paraphraser(channels_first(teacher.taps[self.role]))
        loss = losses.factor_distance(*same_places(ours, theirs), p=self.config.p)
        return {"factor": Term(loss.mean(), self.config.weight)}
