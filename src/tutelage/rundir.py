"""The files of a run, written so that a crash at any moment leaves every one of them whole.

::

    config.json           the resolved run: `tutelage distill config.json` repeats it
    metrics.jsonl         one JSON object a line
    state.ckpt            all that a resumed run needs
    student.safetensors   weights of the last epoch, with student.json beside them
    best.safetensors      weights of the best epoch on validation, with best.json
    result.json           written last: a run that has it is finished
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, RunError

__all__ = ["RunDir", "saving"]


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Write to the path it hands out; what arrives under ``path`` is whole or absent.

    Raises:
        RunError: if the disk is full; the older file, if there was one, is untouched.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with saving(target) as scratch:
        ...     _ = scratch.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        scratch.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        raise RunError(
            f"no space left to write {path} ({free / 2**20:.1f} MiB free); what was saved before is untouched: "
            f"free some space and resume"
        ) from error
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


class RunDir:
    """One run on disk.

    Args:
        path: The directory; :meth:`create` makes it, :meth:`open` finds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state.ckpt"
        self.student = path / "student.safetensors"
        self.best = path / "best.safetensors"
        self.metrics = path / "metrics.jsonl"

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> "RunDir":
        """Make the directory of a new run.

        Raises:
            RunError: if it exists and is not empty: a run is never overwritten.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            what = "a run" if (path / "config.json").exists() else "something"
            raise RunError(
                f"{path} already holds {what}: continue it with `tutelage resume {path}`, or choose another --out"
            )
        run = cls(path)
        run.write_json("config.json", config)
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """Find a run that was begun.

        Raises:
            RunError: if there is no ``config.json`` in it.
        """
        if not (path / "config.json").is_file():
            raise RunError(f"no run at {path}: it holds no config.json")
        return cls(path)

    @property
    def finished(self) -> bool:
        """Whether the run wrote its result."""
        return (self.path / "result.json").is_file()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file atomically."""
        with saving(self.path / name) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file.

        Raises:
            DataError: if it is missing or damaged.
        """
        path = self.path / name
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error
        return content

    def cut_metrics(self, size: int) -> None:
        """Forget the metrics written after a checkpoint: the resumed run writes them again."""
        if self.metrics.exists() or size:
            with self.metrics.open("r+b" if self.metrics.exists() else "w+b") as file:
                file.truncate(size)
