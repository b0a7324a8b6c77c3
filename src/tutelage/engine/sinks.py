"""Where metrics go: always a JSONL file, optionally TensorBoard and Weights & Biases."""

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from tutelage.errors import MissingExtraError
from tutelage.rundir import RunDir, write_error

__all__ = ["MetricsLog", "Sink", "check_sinks", "open_sinks"]


@runtime_checkable
class Sink(Protocol):
    """Takes records of metrics, one at a time."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one record."""

    def close(self) -> None:
        """Flush and release what is held."""


class MetricsLog:
    """One JSON object a line in ``metrics.jsonl``, and the same to every optional sink; one rank writes.

    Args:
        run: Whose metrics are written.
        sinks: Names of the optional ones.
        size: Bytes of the file that count: what was written after the checkpoint is forgotten.
        quiet: Write nothing, as every rank but one does.

    Raises:
        MissingExtraError: if an optional sink is absent or broken.
    """

    def __init__(self, run: RunDir, sinks: Sequence[str] = (), *, size: int = 0, quiet: bool = False) -> None:
        self._file: IO[str] | None = None
        self._sinks: list[Sink] = []
        if not quiet:
            self._sinks = open_sinks(sinks, run)
            run.cut_metrics(size)
            self._file = run.metrics.open("a")

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        if self._file is not None:
            try:
                self._file.write(json.dumps(record) + "\n")
                self._file.flush()
            except OSError as error:
                with suppress(OSError):  # closing tries once more to write what is left
                    self._file.close()
                raise write_error(Path(self._file.name), error) from error
        for sink in self._sinks:
            sink.write(record)

    def size(self) -> int:
        """Bytes written so far: a checkpoint remembers it."""
        return self._file.tell() if self._file is not None else 0

    def close(self) -> None:
        """Close the file and every sink."""
        if self._file is not None:
            self._file.close()
        for sink in self._sinks:
            sink.close()


class TensorBoard:
    """Scalars for TensorBoard.

    Args:
        folder: Where the event files go.

    Raises:
        MissingExtraError: if TensorBoard is absent or broken.
    """

    def __init__(self, folder: Path) -> None:
        self._writer: Any = _extra("tensorboard", "torch.utils.tensorboard").SummaryWriter(str(folder))

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """Scalars for Weights & Biases.

    Args:
        folder: Where its own files go.
        config: The run, to be shown beside the curves.

    Raises:
        MissingExtraError: if wandb is absent or broken.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = _extra("wandb", "wandb")
        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run: Any = wandb.init(  # one directory is one run, also after a resume
            project="tutelage", dir=str(folder), config=dict(config), name=folder.name, id=name, resume="allow"
        )

    def write(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        self._run.log(scalars(record), step=record["step"])

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record under flat names.

    Example:
        >>> scalars({"kind": "train", "step": 3, "loss": 1.0, "terms": {"kd": {"value": 2.0, "weight": 0.9}}})
        {'train/loss': 1.0, 'train/terms/kd': 2.0}
    """
    numbers = {f"{record['kind']}/{k}": v for k, v in record.items() if isinstance(v, float)}
    terms = {f"{record['kind']}/terms/{k}": v["value"] for k, v in record.get("terms", {}).items()}
    figures = {f"{record['kind']}/{k}": v for k, v in record.get("figures", {}).items() if v is not None}
    return numbers | terms | figures


def check_sinks(names: Sequence[str]) -> None:
    """Import what the sinks need, so that a run that lacks it ends before it begins.

    Raises:
        MissingExtraError: if one of them is absent or broken.

    Example:
        >>> check_sinks(())
    """
    modules = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}
    for name in names:
        _extra(name, modules[name])


def _extra(extra: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(extra, error) from error


def open_sinks(names: Sequence[str], run: RunDir) -> list[Sink]:
    """The optional sinks of a run, by name.

    Raises:
        MissingExtraError: if one of them is absent or broken.
    """
    made: list[Sink] = []
    if "tensorboard" in names:
        made.append(TensorBoard(run.path))
    if "wandb" in names:
        made.append(WeightsAndBiases(run.path, run.read_json("config.json")))
    return made
