"""A network in memory that answers when it is asked."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.models.network import Network
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["LiveTeacher"]


class LiveTeacher:
    """A frozen network: ``eval()``, no gradient, dropout off, whatever happens around it.

    Args:
        network: The teacher; it is put into eval mode and its weights no longer require gradients.
        batch_size: Largest number of images it sees at once; ``None`` for the whole batch.
        autocast: Makes the context it computes in, so that it runs in the student's precision.
        precision: Name of that precision; answers in another than ``"32"`` have a fingerprint of their own.

    Raises:
        ConfigError: if the batch size is not positive.

    Example:
        >>> from tutelage.models import ModelCard, build_network
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> teacher = LiveTeacher(build_network(card))
        >>> one = torch.zeros(1, dtype=torch.int64)
        >>> answer = teacher(Batch(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), one, one, one))
        >>> tuple(answer.logits.shape), answer.logits.requires_grad, teacher.calls
        ((1, 2), False, 1)
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        precision: str = "32",
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"the teacher's batch size must be at least 1, got {batch_size}")
        self.labels: LabelSpace = network.labels
        self.fingerprint: str = network.fingerprint() + ("" if precision == "32" else f"-{precision}")
        self.calls = 0
        self._network = network.eval().requires_grad_(False)
        self._run: nn.Module = self._network
        self._batch_size = batch_size
        self._autocast = autocast

    @property
    def network(self) -> Network:
        """The network that answers."""
        return self._network

    @property
    def shapes(self) -> Shapes:
        """Shape of each output by role, without the batch dimension."""
        return self._network.shapes

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on.

        Raises:
            UnknownNameError: if the network has no such role.
        """
        self._network.listen(roles)

    def compile(self) -> None:
        """Compile the network: after :meth:`listen`, since hooks added later would not be seen."""
        self._run = torch.compile(self._network)  # type: ignore[assignment]

    def __call__(self, batch: Batch) -> Outputs:
        """Answer every sample of the batch."""
        self.calls += len(batch.ids)
        with torch.inference_mode(), self._autocast():
            parts = torch.split(batch.images, self._batch_size or len(batch.ids))
            answers = [self._run(images) for images in parts]
        # A tensor made in inference mode cannot be saved for a backward pass; a copy of it can.
        logits = _joined([answer.logits for answer in answers])
        return Outputs(logits, {r: _joined([a.taps[r] for a in answers]) for r in answers[0].taps})


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0].clone() if len(parts) == 1 else torch.cat(parts)
