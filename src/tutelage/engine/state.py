"""All that a resumed run needs, in one file: weights, method, optimiser, position, generators, meters."""

import pickle
import random
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from tutelage.engine.apart import Apart, catch_up
from tutelage.engine.meter import Meter
from tutelage.engine.tutor import Tutor
from tutelage.errors import DataError
from tutelage.rundir import RunDir, saving

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Position", "Standing", "State", "standing"]


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        stage: Number of the stage that is under way.
        epoch: Finished epochs of that stage.
        batch: Batches done in the epoch that is under way.
        step: Batches done in that stage.
        best: Highest validation accuracy of that stage, of the logits or of the nearest class mean.
        best_epoch: When it was reached.
        seconds: Spent training, without validation.
        memory: Highest use while training, without validation, in bytes (see :mod:`tutelage.engine.footprint`).
        before: Batches of the stages that are finished.
        calls: Samples the teacher answered.
        skipped: Samples that learnt from their labels alone, since the teacher had not answered them.
        drops: Of a plateau schedule: how often the rate was lowered.
        dropped: Epoch in which that was last done.
        metrics: Size of the metrics file in bytes.
        begun: Whether that stage has its student handed over and its method prepared.
        cached: Whether what that stage makes was there before.
        history: What is to be told of the stages that are finished.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    memory: int = 0
    before: int = 0
    calls: int = 0
    skipped: int = 0
    drops: int = 0
    dropped: int = 0
    metrics: int = 0
    begun: bool = False
    cached: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_stage(self) -> None:
        """Go to the start of the next stage; what counts for the whole run goes on."""
        self.__init__(  # type: ignore[misc]
            stage=self.stage + 1,
            seconds=self.seconds,
            memory=self.memory,
            before=self.before + self.step,
            calls=self.calls,
            skipped=self.skipped,
            metrics=self.metrics,
            history=self.history,
        )

    @property
    def all_steps(self) -> int:
        """Batches done in all stages."""
        return self.before + self.step


@dataclass
class State:
    """What is saved and restored.

    Args:
        fabric: Saves and loads, and knows the ranks.
        run: Whose ``state.ckpt`` it is.
        student: The wrapped student.
        position: Where the run stands.
        meter: What the next line of metrics will say.
        optimizer: Of the stage.
        method: The wrapped method of the stage, if any.
        tutor: The teacher, if any: one that follows the student has a state.
        earlier: The methods of the stages before, by name of the stage: a later method reads them.
    """

    fabric: "Fabric"
    run: RunDir
    student: nn.Module
    position: Position
    meter: Meter
    optimizer: Optimizer
    method: nn.Module | None = None
    tutor: Tutor | None = None
    earlier: Mapping[str, nn.Module] = field(default_factory=dict)

    def save(self) -> None:
        """Write the checkpoint atomically; every rank must call it."""
        catch_up(self.student)
        steps = self.optimizer.state_dict()
        content: dict[str, Any] = {
            "student": self.student.state_dict(),
            "method": self.method.state_dict() if self.method is not None else None,
            "earlier": {name: method.state_dict() for name, method in self.earlier.items()},
            "teacher": self.tutor.state_dict() if self.tutor is not None else {},
            "optimizer": self._of_all_ranks(_moved(steps, torch.device("cpu"))) if self._apart else steps,
            "precision": self.fabric.strategy.precision.state_dict(),  # the loss scale of fp16
            "position": asdict(self.position),
            "meters": self._of_all_ranks(self.meter.state_dict()),
            "generators": self._of_all_ranks(_generators()),
        }
        if self.fabric.is_global_zero:
            # A Python file, not a path: on a full disk torch's own writer raises no OSError.
            with saving(self.run.state) as scratch, scratch.open("wb") as file:
                torch.save(content, file)
        self.fabric.barrier()

    def load(self) -> None:
        """Restore what :meth:`save` wrote, into the objects at hand; every rank must call it.

        Raises:
            DataError: if the checkpoint is damaged.
        """
        with _readable(self.run.state):
            content = torch.load(self.run.state, map_location="cpu", weights_only=True)
            rank = self.fabric.global_rank
            self.student.load_state_dict(content["student"])
            if self.method is not None:
                self.method.load_state_dict(content["method"])
            if self.tutor is not None:
                self.tutor.load_state_dict(content["teacher"])
            self.optimizer.load_state_dict(content["optimizer"][rank] if self._apart else content["optimizer"])
            self.fabric.strategy.precision.load_state_dict(content["precision"])
            self.meter.load_state_dict(_moved(content["meters"][rank], self.fabric.device))
            self.position.__init__(**content["position"])  # type: ignore[misc]
            _set_generators(content["generators"][rank])

    @property
    def _apart(self) -> bool:
        """Whether every rank moves another network, so that what the optimiser remembers differs."""
        return isinstance(self.student, Apart)

    def _of_all_ranks(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        if self.fabric.world_size == 1:
            return [own]
        import torch.distributed as dist

        everyone: list[dict[str, Any]] = [{} for _ in range(self.fabric.world_size)]
        dist.all_gather_object(everyone, own)
        return everyone


class Standing(NamedTuple):
    """What must be known of a checkpoint before the objects are made that it is loaded into.

    Attributes:
        stage: The number of the stage in which it was written; 0 where there is none.
        earlier: The states of the methods of the stages before, by name of the stage.
    """

    stage: int = 0
    earlier: Mapping[str, Mapping[str, Any]] = {}


def standing(run: RunDir) -> Standing:
    """Where the checkpoint of a run stands.

    Raises:
        DataError: if the checkpoint is damaged.
    """
    if not run.state.exists():
        return Standing()
    with _readable(run.state):
        content = torch.load(run.state, map_location="cpu", weights_only=True, mmap=True)
        return Standing(int(content["position"]["stage"]), content.get("earlier", {}))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what a damaged checkpoint, or one of other networks, raises into a DataError that names it."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is cut off, or no checkpoint at all")
        yield
    except (RuntimeError, EOFError, OSError, ValueError, TypeError, LookupError, pickle.UnpicklingError) as error:
        why = textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" …")
        raise DataError(
            f"the checkpoint {path} is damaged and cannot be resumed ({why}): start the run again in a new directory"
        ) from error


def _generators() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    of_numpy: Any = np.random.get_state(legacy=True)
    kind, keys, *rest = of_numpy
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, list(words), gauss],
        "numpy": [kind, keys.tolist(), *rest],
    }


def _set_generators(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))


def _moved(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return _moved(value, device)
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return {name: moved(value) for name, value in state.items()}
