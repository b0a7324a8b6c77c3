"""IE-DML: networks that learn at the same time match each other's answers; half of each inherits, half explores.

An auto-encoder belongs to who reads it and of whom, so that each of three networks holds two. Each validation writes
linear CKA of each half with the peers' features, in the mean over them, as IE-KD does with the teacher's.

Paper: Huang, Shen et al. Revisiting Knowledge Distillation: Inheritance and Exploration. CVPR 2021. arXiv 2107.00181
Code: reconstructed from the paper; coders and distances as in IE-KD's release (see iekd.py)
Reads: logits, stage2; no teacher
Labels: same
Trains: the student, an encoder of each half, and the auto-encoder of the peer's features
Differs: all networks step at once, on one forward each; the paper updates them in turn
Results: benchmarks/cifar100/iekd.md
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from tutelage import losses
from tutelage.methods.adapters.auto_encoder import AutoEncoder, AutoEncoderConfig, coder, factors_of
from tutelage.methods.adapters.halves import Split, check_halves, similarities
from tutelage.methods.adapters.places import channels_first, channels_of, paired_features, same_places
from tutelage.methods.adapters.stages import last_feature
from tutelage.methods.base import Needs, WarmingMethod
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["IEDML", "IEDMLConfig"]


@dataclass(frozen=True, kw_only=True)
class IEDMLConfig(Summable):
    """Settings of IE-DML.

    Args:
        weight: Of the divergence from the peers, in the mean over them.
        temperature: Softens both distributions; none in the paper.
        inherit: Weight of inheritance; 0 leaves the term out.
        explore: Weight of exploration; 0 leaves the term out.
        reconstruct: Weight of the auto-encoder's own term, which reaches no network.
        warmup_epochs: Over which inheritance and exploration come in linearly; 10 to 20 in the paper, of 200.
        ratio: Share of a network's channels that inherit: 0 is exploration only, 1 inheritance only.
        split: The first channels inherit (natural), or a random choice of them.
        split_seed: Of that choice.
        distance: Of factors.
        factor_rate: Channels of a factor, as a share of those of the peer's feature.
        role: The feature; None: the last stage that both networks have, or the embedding.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "iedml"
    teacher_free: ClassVar[bool] = True
    peers: ClassVar[bool] = True
    weight: float = 1.0
    temperature: float = 1.0
    inherit: float = 50.0
    explore: float = 50.0
    reconstruct: float = 1.0
    warmup_epochs: float = 10.0
    ratio: float = 0.5
    split: Literal["natural", "random"] = "natural"
    split_seed: int = 0
    distance: Literal["l1", "l2", "cosine"] = "l1"
    factor_rate: float = 0.5
    role: str | None = None
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_halves(ratio=self.ratio, split=self.split, distance=self.distance)
        check_positive(temperature=self.temperature, factor_rate=self.factor_rate, reconstruct=self.reconstruct)
        check_non_negative(
            weight=self.weight,
            inherit=self.inherit,
            explore=self.explore,
            warmup_epochs=self.warmup_epochs,
            task_weight=self.task_weight,
        )

    @property
    def inherits(self) -> bool:
        """Whether there is a term of inheritance."""
        return self.ratio > 0 and self.inherit > 0

    @property
    def explores(self) -> bool:
        """Whether there is a term of exploration."""
        return self.ratio < 1 and self.explore > 0

    def build(self, student: Shapes, teacher: Shapes) -> "IEDML":
        """Make the module for one that learns and one that it learns from.

        Raises:
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if the feature is of another kind in each, or has too few channels.
        """
        role = self.role or last_feature(student, teacher)
        ours, theirs = paired_features(self.name, role, student, teacher)
        return IEDML(self, role, ours, theirs)


class IEDML(WarmingMethod):
    """Mutual inheritance and exploration, seen by one network and of one other.

    It holds the halves and encoders of the one, and the auto-encoder of the other's features. That one is trained on
    features without gradient, and its factor is read without gradient: neither network is moved by the reconstruction,
    and the auto-encoder by nothing else.

    Args:
        config: Its settings.
        role: The feature.
        ours: Shape of the feature of the network that learns.
        theirs: Shape of that of the other.
    """

    def __init__(self, config: IEDMLConfig, role: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        halves = config.inherits or config.explores
        super().__init__(
            Needs(
                labels=("same",),
                roles=(role,),
                compares_samples=halves,  # through the batch norm of the coders
                at_least=2 if halves else 1,
                teacher=False,
                peers=True,
                figures=True,
            )
        )
        self.config, self.role = config, role
        self.split = Split(channels_of(ours), ratio=config.ratio, order=config.split, seed=config.split_seed)
        factors = factors_of(theirs, config.factor_rate)
        self.inheriting: nn.Module | None = None
        self.exploring: nn.Module | None = None
        self.auto_encoder: AutoEncoder | None = None
        if config.inherits:
            self.inheriting = coder(len(self.split.inheriting), factors, shape=ours)
        if config.explores:
            self.exploring = coder(len(self.split.exploring), factors, shape=ours)
        if halves:
            self.auto_encoder = AutoEncoder(AutoEncoderConfig(role=role, factor_rate=config.factor_rate), role, theirs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``mutual``, ``reconstruction``, and ``inheritance`` and ``exploration`` where they have a half."""
        cfg = self.config
        mutual = losses.kd(student.logits, teacher.logits, temperature=cfg.temperature)
        terms = {"mutual": Term(mutual.mean(), cfg.weight)}
        if self.auto_encoder is None:
            return terms
        factor, gap = self.auto_encoder.gap(channels_first(teacher.taps[self.role].detach()))
        terms["reconstruction"] = Term(gap, cfg.reconstruct)
        inherited, explored = self.split(channels_first(student.taps[self.role]))
        ramp = self.warmth(cfg.warmup_epochs)
        if self.inheriting is not None:
            ours, theirs = same_places(self.inheriting(inherited), factor.detach())
            near = losses.inheritance(ours, theirs, distance=cfg.distance)
            terms["inheritance"] = Term(near.mean(), cfg.inherit * ramp)
        if self.exploring is not None:
            ours, theirs = same_places(self.exploring(explored), factor.detach())
            far = losses.exploration(ours, theirs, distance=cfg.distance)
            terms["exploration"] = Term(far.mean(), cfg.explore * ramp)
        return terms

    def figures(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """``cka_inheritance`` and ``cka_exploration`` with the other's feature, each where its half has channels."""
        return similarities(self.split, student.taps[self.role], teacher.taps[self.role])
