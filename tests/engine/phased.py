"""Methods in stages, for their tests: an auto-encoder and who reads it, an embedding and who goes on with it."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses
from tutelage.methods import METHODS, PHASES, Method, Needs, Phase
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

EVENTS: list[str] = []
"""What the follower was told, in order."""


@dataclass(frozen=True, kw_only=True)
class CoderConfig:
    """An auto-encoder of the teacher's embedding."""

    name: ClassVar[str] = "fake_coder"
    width: int = 4
    task_weight: float = 1.0

    def build(self, student: Shapes, teacher: Shapes) -> "Coder":
        """Make the module."""
        return Coder(teacher["embedding"][0], self.width)


class Coder(Method):
    """Two linear maps with dropout between, so that every step draws random numbers."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__(Needs(roles=("embedding",), trains="method"))
        self.encoder = nn.Linear(features, width)
        self.decoder = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, features))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term."""
        assert student is teacher
        told = teacher.taps["embedding"]
        return {"reconstruction": Term(F.mse_loss(self.decoder(self.encoder(told)), told), 1.0)}


@dataclass(frozen=True, kw_only=True)
class FollowerConfig:
    """The student's embedding is to tell the teacher's code."""

    name: ClassVar[str] = "fake_follower"
    width: int = 4
    share: float = 0.5
    task_weight: float = 1.0

    @property
    def before(self) -> tuple[Phase, ...]:
        """The auto-encoder."""
        return (Phase(name="coder", method=CoderConfig(width=self.width), epochs=self.share, lr=0.02),)

    def build(self, student: Shapes, teacher: Shapes) -> "Follower":
        """Make the module."""
        return Follower(student["embedding"][0], nn.Linear(teacher["embedding"][0], self.width))


class Follower(Method):
    """Reads the encoder that was trained before."""

    def __init__(self, features: int, encoder: nn.Linear) -> None:
        super().__init__(Needs(roles=("embedding",)))
        self.translator = nn.Linear(features, encoder.out_features)
        self.encoder = encoder.requires_grad_(False).eval()

    def follow(self, earlier: Mapping[str, Method]) -> None:
        """Copy the encoder."""
        EVENTS.append(f"follow {sorted(earlier)}")
        coder: Any = earlier["coder"]
        self.encoder.load_state_dict(copy.deepcopy(coder.encoder.state_dict()))

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Nothing but a note."""
        EVENTS.append("prepare")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term."""
        gap = F.mse_loss(self.translator(student.taps["embedding"]), self.encoder(teacher.taps["embedding"]))
        return {"code": Term(gap, 0.1)}


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """The student's embedding alone."""

    name: ClassVar[str] = "fake_embed"
    judge: str = "ncm"
    task_weight: float = 0.0

    def build(self, student: Shapes, teacher: Shapes) -> "Embed":
        """Make the module."""
        return Embed(self.judge)


class Embed(Method):
    """Distances as the teacher's."""

    def __init__(self, judge: Any) -> None:
        super().__init__(Needs(roles=("embedding",), compares_samples=True, at_least=2, judge=judge))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term."""
        value = losses.rkd_distance(student.taps["embedding"], teacher.taps["embedding"]).mean()
        return {"distance": Term(value, 1.0)}


@dataclass(frozen=True, kw_only=True)
class TunerConfig:
    """Goes on with an embedding, by labels alone."""

    name: ClassVar[str] = "fake_tuner"
    teacher_free: ClassVar[bool] = True
    judge: str = "ncm"
    share: float = 1.0
    task_weight: float = 1.0

    @property
    def before(self) -> tuple[Phase, ...]:
        """The embedding."""
        return (Phase(name="embedding", method=EmbedConfig(judge=self.judge), epochs=self.share),)

    def build(self, student: Shapes, teacher: Shapes) -> "Tuner":
        """Make the module."""
        return Tuner()


class Tuner(Method):
    """Adds the size of the logits, which is no term of labels."""

    def __init__(self) -> None:
        super().__init__(Needs(teacher=False))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term."""
        return {"size": Term(student.logits.square().mean(), 1e-4)}

    def after_step(self, epoch: float) -> None:
        """Count."""
        self.steps += 1


def register(put: Callable[[dict[str, type[Any]], str, type[Any]], None] = dict.__setitem__) -> None:
    """Make them known to configs."""
    for config in (FollowerConfig, TunerConfig):
        put(METHODS, config.name, config)
    for phase in (CoderConfig, EmbedConfig):
        put(PHASES, phase.name, phase)
