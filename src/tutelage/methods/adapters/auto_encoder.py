"""The auto-encoder of the teacher's features that FT and IE-KD train before the student, and the coders it is made of.

Layers as in model/auto_encoder.py of IE-KD's release:
https://github.com/aliyun/Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework@3274ab0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.methods.adapters.places import channels_first, channels_of, paired_features
from tutelage.methods.adapters.stages import last_feature
from tutelage.methods.base import Method, Needs, Phase
from tutelage.ops.checks import check_positive
from tutelage.ops.precision import upcast_both
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["STAGE", "AutoEncoder", "AutoEncoderConfig", "FrozenEncoder", "coder", "factors_of", "phase"]

STAGE = "auto_encoder"
"""The name of its stage, the same for all methods that read it: a sum of them trains it once."""


def coder(inputs: int, outputs: int, *, shape: tuple[int, ...]) -> nn.Sequential:
    """Three convolutions with batch norm, a leaky ReLU before and after each.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        shape: Of the feature: 3×3 convolutions see a map; tokens and vectors are seen one by one, so that each layer
            is linear.

    Example:
        >>> coder(8, 4, shape=(8, 2, 2))(torch.zeros(2, 8, 2, 2)).shape
        torch.Size([2, 4, 2, 2])
        >>> coder(8, 4, shape=(8,))(torch.zeros(2, 8, 1)).shape
        torch.Size([2, 4, 1])
    """
    layers: list[nn.Module] = [nn.LeakyReLU(0.1)]
    for width, out in ((inputs, inputs), (inputs, outputs), (outputs, outputs)):
        maps = len(shape) == 3
        conv = nn.Conv2d(width, out, 3, padding=1, bias=False) if maps else nn.Conv1d(width, out, 1, bias=False)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (out * math.prod(conv.kernel_size))))
        layers += [conv, nn.BatchNorm2d(out) if maps else nn.BatchNorm1d(out), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def factors_of(shape: tuple[int, ...], rate: float) -> int:
    """Channels of a factor: a share of those of the feature, at least one.

    Example:
        >>> factors_of((64, 8, 8), 0.5), factors_of((1,), 0.5)
        (32, 1)
    """
    return max(1, int(channels_of(shape) * rate))


@dataclass(frozen=True, kw_only=True)
class AutoEncoderConfig:
    """Settings of the auto-encoder.

    Args:
        role: The feature; None: the last stage that both networks have, or the embedding.
        factor_rate: Channels of the factor, as a share of those of the feature.
    """

    name: ClassVar[str] = "auto_encoder"
    task_weight: ClassVar[float] = 0.0
    role: str | None = None
    factor_rate: float = 0.5

    def __post_init__(self) -> None:
        check_positive(factor_rate=self.factor_rate)

    def build(self, student: Shapes, teacher: Shapes) -> "AutoEncoder":
        """Make the module.

        Raises:
            UnknownNameError: if one of the networks has no such feature; names the nearest.
            ShapeError: if the feature is of another kind in each.
        """
        role = self.role or last_feature(student, teacher)
        _, theirs = paired_features("the auto-encoder", role, student, teacher)
        return AutoEncoder(self, role, theirs)


class AutoEncoder(Method):
    """Brings the teacher's feature to a factor and back, by the mean absolute gap; it is trained without the student.

    Args:
        config: Its settings.
        role: The feature.
        shape: Of the teacher's feature.
    """

    def __init__(self, config: AutoEncoderConfig, role: str, shape: tuple[int, ...]) -> None:
        # Through the batch norm samples depend on each other; that of a vector cannot be taken of one.
        super().__init__(Needs(roles=(role,), compares_samples=True, at_least=2, trains="method", judge="none"))
        self.config = config
        self.role = role
        width, factors = channels_of(shape), factors_of(shape, config.factor_rate)
        parts = {"encoder": coder(width, factors, shape=shape), "decoder": coder(factors, width, shape=shape)}
        # The role is part of the names of the weights: those of another stage of the same width do not fit.
        self._key = role.replace(".", "-")
        self.of = nn.ModuleDict({self._key: nn.ModuleDict(parts)})

    @property
    def encoder(self) -> nn.Module:
        """From the feature, channels first, to the factor."""
        return self.of.get_submodule(f"{self._key}.encoder")

    @property
    def decoder(self) -> nn.Module:
        """Back."""
        return self.of.get_submodule(f"{self._key}.decoder")

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``reconstruction``."""
        feature = channels_first(teacher.taps[self.role].detach())
        return {"reconstruction": Term(self.gap(feature)[1], 1.0)}

    def gap(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The factor of a feature, and how far what is made of it is from the feature.

        Args:
            feature: ``(n, c, …)``, channels first, without gradient.
        """
        factor = self.encoder(feature)
        return factor, F.l1_loss(*upcast_both(self.decoder(factor), feature))


class FrozenEncoder(nn.Module):
    """The encoder of an earlier stage, copied, without gradient and always in eval mode.

    Args:
        shape: Of the teacher's feature.
        rate: Channels of the factor, as a share of those of the feature.
    """

    def __init__(self, shape: tuple[int, ...], rate: float) -> None:
        super().__init__()
        self.coder = coder(channels_of(shape), factors_of(shape, rate), shape=shape).requires_grad_(False)
        self.trained = False
        self.eval()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in eval mode."""
        super().train(False)
        return self

    def take(self, method: str, earlier: Mapping[str, Method]) -> None:
        """Copy the encoder that an earlier stage trained.

        Args:
            method: Who asks, for the message.
            earlier: The methods of the earlier stages, by name of the stage.

        Raises:
            ConfigError: if there is no such stage: an encoder as it was drawn would teach noise.
        """
        found = earlier.get(STAGE)
        if not isinstance(found, AutoEncoder):
            raise ConfigError(
                f"{method} reads the auto-encoder that a stage {STAGE!r} trains before its own, and the stages before "
                f"are {', '.join(earlier) or 'none'}: make the stages with tutelage.engine.staged"
            )
        self.coder.load_state_dict(found.encoder.state_dict())
        self.trained = True

    @torch.no_grad()
    def forward(self, feature: Tensor) -> Tensor:
        """The factor of a feature, channels first."""
        if not self.trained:
            raise ConfigError("the auto-encoder is not trained: let the method follow the stage that trains it first")
        factor: Tensor = self.coder(feature)
        return factor

    def get_extra_state(self) -> dict[str, bool]:
        """Whether it is trained."""
        return {"trained": self.trained}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Restore that."""
        self.trained = state["trained"]


def phase(role: str | None, factor_rate: float, epochs: float) -> Phase:
    """The stage that trains it.

    Example:
        >>> phase("stage3", 0.5, 30 / 160).name
        'auto_encoder'
    """
    return Phase(name=STAGE, method=AutoEncoderConfig(role=role, factor_rate=factor_rate), epochs=epochs)
