"""Teachers that follow the student: the average of its past weights, and a copy of it from some epochs ago."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tutelage.errors import ConfigError, DataError
from tutelage.models.network import Network
from tutelage.teachers.live import LiveTeacher

__all__ = ["EMATeacher", "MovingTeacher", "SnapshotTeacher"]


class MovingTeacher(LiveTeacher, ABC):
    """A copy of the student that moves as the student learns.

    Its fingerprint names the weights it began with and the number of its moves. It changes with every move, so its
    answers are of no use to a cache.

    Args:
        network: The student, which is copied and stays as it is.
        batch_size: Largest number of images it sees at once; ``None`` for the whole batch.
        autocast: Makes the context it computes in, so that it runs in the student's precision.

    Raises:
        ConfigError: if the batch size is not positive.
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__(_twin(network), batch_size=batch_size, autocast=autocast)
        self._origin = self.fingerprint
        self._moves = 0

    @abstractmethod
    def after_step(self, student: Network, epoch: float) -> None:
        """Follow the student, once after each optimiser step.

        Args:
            student: The network that learns, of the same model as the one that was copied.
            epoch: Epochs done so far, such as 1.5.
        """

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers and counts, copied: what was taken does not move on."""
        weights = {name: value.detach().clone() for name, value in self._network.model.state_dict().items()}
        return {"weights": weights, "origin": self._origin, "moves": self._moves, "calls": self.calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`, bit by bit the same.

        Raises:
            DataError: if the state is incomplete or of another model; nothing is changed then.
        """
        own = {name: tuple(value.shape) for name, value in self._network.model.state_dict().items()}
        missing = sorted({"weights", "origin", "moves", "calls"} - state.keys())
        found = {} if missing else {name: tuple(value.shape) for name, value in state["weights"].items()}
        if missing or found != own:
            detail = f"it lacks {', '.join(missing)}" if missing else "its weights are those of another model"
            raise DataError(f"this state does not fit the moving teacher: {detail}; resume with the config of the run")
        self._network.model.load_state_dict(state["weights"])
        self.calls, self._origin = int(state["calls"]), str(state["origin"])
        self._moved(int(state["moves"]))

    def _moved(self, moves: int) -> None:
        self._moves = moves
        self.fingerprint = f"{self._origin}+{moves}" if moves else self._origin


class EMATeacher(MovingTeacher):
    r"""The exponential moving average of the student's weights (Tarvainen and Valpola 2017, arXiv:1703.01780).

    .. math:: \theta' \leftarrow \alpha \theta' + (1 - \alpha) \theta

    Buffers, such as the statistics of batch norm, are averages already: they are copied.

    Args:
        network: The student, which is copied and stays as it is.
        decay: :math:`\alpha`, at least 0 and below 1; 0.99 is what the paper begins with.
        batch_size: Largest number of images it sees at once; ``None`` for the whole batch.
        autocast: Makes the context it computes in, so that it runs in the student's precision.

    Raises:
        ConfigError: if the decay or the batch size is out of range.

    Example:
        >>> from torch import nn
        >>> from tutelage.models import ModelCard
        >>> card = ModelCard(model="python:mine", classes=("a", "b"), image=(1, 2, 2), mean=(0.5,), std=(0.5,))
        >>> student = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), card)
        >>> _ = nn.init.zeros_(student.model[1].weight)
        >>> teacher = EMATeacher(student, decay=0.9)
        >>> _ = nn.init.ones_(student.model[1].weight)
        >>> teacher.after_step(student, epoch=0.1)
        >>> round(float(teacher.state_dict()["weights"]["1.weight"].mean()), 6)
        0.1
    """

    def __init__(
        self,
        network: Network,
        *,
        decay: float = 0.99,
        batch_size: int | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"the decay of the average must be at least 0 and below 1, got {decay}")
        super().__init__(network, batch_size=batch_size, autocast=autocast)
        # The list form moves all weights in one launch on a GPU.
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def after_step(self, student: Network, epoch: float) -> None:
        """Move the average towards the student's weights."""
        ours, theirs = list(self._network.model.parameters()), list(student.model.parameters())
        with torch.no_grad():
            self._average(ours, theirs, self._moves)
            _copy_buffers(self._network, student)
        self._moved(self._moves + 1)


class SnapshotTeacher(MovingTeacher):
    """The student as it was when the last ``every`` epochs ended; before that, as it was at the start.

    Args:
        network: The student, which is copied and stays as it is.
        every: Epochs from one copy to the next.
        batch_size: Largest number of images it sees at once; ``None`` for the whole batch.
        autocast: Makes the context it computes in, so that it runs in the student's precision.

    Raises:
        ConfigError: if ``every`` or the batch size is not positive.

    Example:
        >>> from torch import nn
        >>> from tutelage.models import ModelCard
        >>> card = ModelCard(model="python:mine", classes=("a", "b"), image=(1, 2, 2), mean=(0.5,), std=(0.5,))
        >>> student = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), card)
        >>> teacher = SnapshotTeacher(student)
        >>> _ = nn.init.ones_(student.model[1].weight)
        >>> teacher.after_step(student, epoch=0.5)
        >>> bool((teacher.state_dict()["weights"]["1.weight"] == 1).all())
        False
        >>> teacher.after_step(student, epoch=1.0)
        >>> bool((teacher.state_dict()["weights"]["1.weight"] == 1).all())
        True
    """

    def __init__(
        self,
        network: Network,
        *,
        every: int = 1,
        batch_size: int | None = None,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if every < 1:
            raise ConfigError(f"a snapshot is taken every 1 epoch or more, got {every}")
        super().__init__(network, batch_size=batch_size, autocast=autocast)
        self._every = every

    def after_step(self, student: Network, epoch: float) -> None:
        """Copy the student if another ``every`` epochs have ended."""
        due = int(epoch // self._every)
        if due <= self._moves:
            return
        with torch.no_grad():
            for ours, theirs in zip(self._network.model.parameters(), student.model.parameters(), strict=True):
                ours.copy_(theirs)
            _copy_buffers(self._network, student)
        self._moved(due)


def _twin(network: Network) -> Network:
    """A copy with hooks of its own: those that are copied still write into the taps of the original."""
    twin = copy.deepcopy(network)
    # The copied handles belong to the copied modules, so that listening anew takes the copied hooks off.
    twin.listen(twin._taps.places)
    # What was found for the roles that the original listens to.
    twin.__dict__.pop("shapes", None)
    twin.zero_grad(set_to_none=True)
    return twin


def _copy_buffers(target: Network, source: Network) -> None:
    for ours, theirs in zip(target.model.buffers(), source.model.buffers(), strict=True):
        ours.copy_(theirs)
