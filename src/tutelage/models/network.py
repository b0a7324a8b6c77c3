"""A network as the rest of tutelage sees it: pixels in, logits and features by role out.

Letters: n samples, c channels, h height, w width, k classes.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from tutelage.errors import ConfigError, ShapeError, TutelageError
from tutelage.labels import LabelSpace
from tutelage.taps import Taps, find_embedding
from tutelage.types import Outputs, Shapes

__all__ = ["ModelCard", "Network"]

_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the forward of a user's own model may raise where images do not fit it."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a stored network must say about itself to be used again.

    Args:
        model: The spec that :func:`tutelage.models.resolve` builds it from.
        classes: The names of its classes, in the order of its logits.
        image: Channels, height and width of the images it was trained on.
        mean: Per channel, of pixels scaled to 0–1.
        std: Per channel, of pixels scaled to 0–1.
        taps: Role → module path, beyond those the model knows itself.
        training: How it came to be (data, accuracy, command, commit), for people.
    """

    model: str
    classes: tuple[str, ...]
    image: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    taps: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.image) != 3 or min(self.image) < 1:
            raise ConfigError(f"image is channels, height and width, each at least 1, got {self.image}")
        channels = self.image[0]
        if len(self.classes) < 2:
            raise ConfigError(f"a network needs at least two classes, got {len(self.classes)}")
        if not len(self.mean) == len(self.std) == channels:
            raise ConfigError(
                f"mean and std need one number for each of {channels} channels, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ConfigError(f"every std must be positive, got {self.std}")


class Network(nn.Module):
    """A classifier that normalises its own pixels and hands out its features by role.

    Student and teacher each normalise by their own statistics, so both see the same pixels and neither
    needs the other's conventions.

    Args:
        model: The bare module: normalised images → logits.
        card: Its spec, classes, image shape and normalisation.

    Raises:
        UnknownNameError: if a tap's path does not exist.

    Example:
        >>> card = ModelCard(model="python:mine", classes=("a", "b"), image=(1, 4, 4), mean=(0.5,), std=(0.5,))
        >>> network = Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), card)
        >>> network.shapes
        {'logits': (2,), 'embedding': (16,)}
    """

    def __init__(self, model: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.model = model
        self.card = card
        self.labels = LabelSpace(tuple(card.classes))
        own: Mapping[str, str] = getattr(model, "taps", {})
        if not own and "embedding" not in card.taps:
            tap = find_embedding(model)
            own = {"embedding": f"{tap.path}:{tap.side}"}
        self._taps = Taps(model, {**own, **card.taps})
        scale = 1 / (255 * torch.tensor(card.std))
        shift = -torch.tensor(card.mean) / torch.tensor(card.std)
        self.register_buffer("_scale", scale.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("_shift", shift.view(1, -1, 1, 1), persistent=False)
        self._scale: Tensor
        self._shift: Tensor
        self._still = False

    def listen(self, roles: Iterable[str]) -> None:
        """Hand out these roles from now on (call it before compiling or wrapping the network).

        Raises:
            UnknownNameError: if a role has no place in this model.
        """
        self._taps.listen(roles)

    def hold_still(self, trained: Iterable[str]) -> None:
        """Train these weights only, and stay in eval mode from now on: running statistics move no more.

        Args:
            trained: Names of weights of the bare model.
        """
        names = set(trained)
        for name, weight in self.model.named_parameters():
            weight.requires_grad_(name in names)
        self._still = True
        self.eval()

    def train(self, mode: bool = True) -> "Network":
        """As of every module, but for a network that holds still."""
        super().train(mode and not self._still)
        return self

    def forward(self, images: Shaped[Tensor, "n c h w"]) -> Outputs:
        """Logits and taps of a batch of pixels in 0–255 (uint8 or float)."""
        logits = self.model(torch.addcmul(self._shift, images.to(self._scale.dtype), self._scale))
        return Outputs(logits, {role: _flat(value) for role, value in self._taps.take().items()})

    @cached_property
    def shapes(self) -> Shapes:
        """The shape of every output without the batch dimension, found by a dry run.

        Raises:
            ShapeError: if the model does not accept the images of its card, or returns no ``(n, k)`` logits.
        """
        training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                out = self(torch.zeros(2, *self.card.image, dtype=torch.uint8, device=self._scale.device))
        except TutelageError:
            raise
        except _FAILURES as error:
            why = f"{type(error).__name__}: {error}"
            raise ShapeError(f"{self.card.model} does not accept images of {self.card.image} ({why})") from error
        finally:
            self.train(training)
        if not isinstance(out.logits, Tensor):
            kind = type(out.logits).__name__
            raise ShapeError(f"{self.card.model} must return logits, got a {kind}: wrap it so that it returns them")
        if out.logits.shape != (2, len(self.labels)):
            raise ShapeError(
                f"{self.card.model} must return logits of shape (n, {len(self.labels)}), "
                f"got {tuple(out.logits.shape)} for n = 2: its head does not fit the {len(self.labels)} classes"
            )
        return {"logits": (len(self.labels),)} | {role: tuple(v.shape[1:]) for role, v in out.taps.items()}

    @property
    def num_parameters(self) -> int:
        """Number of weights of the bare model."""
        return sum(p.numel() for p in self.model.parameters())

    def fingerprint(self) -> str:
        """A hash of the spec, the normalisation and every weight: another number is another teacher."""
        digest = hashlib.sha256(repr((self.card.model, self.card.mean, self.card.std)).encode())
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


def _flat(value: Tensor) -> Tensor:
    """A pooled map ``(n, d, 1, 1)`` is a vector ``(n, d)``."""
    return value.flatten(1) if value.dim() > 2 and value.shape[2:].numel() == 1 else value


def check_same_images(networks: Sequence[Network]) -> None:
    """Refuse networks that expect different images.

    Raises:
        ConfigError: names both image shapes.
    """
    shapes = {network.card.image for network in networks}
    if len(shapes) > 1:
        raise ConfigError(f"teacher and student must take the same images, got {sorted(shapes)}")
