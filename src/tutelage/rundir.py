"""The files of a run, written so that a crash at any moment leaves every one of them whole.

::

    config.json           the resolved run: `tutelage distill config.json` repeats it
    metrics.jsonl         one JSON object a line
    state.ckpt            all that a resumed run needs
    student.safetensors   weights of the last epoch, with student.json beside them
    best.safetensors      weights of the best epoch on validation, with best.json
    result.json           written last: a run that has it is finished
    diverged.json         why a run has no result: its loss was no longer finite
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, RunError

__all__ = ["RunDir", "check_new", "saving", "write_error"]


@contextmanager
def saving(path: Path) -> Iterator[Path]:
    """Write to the path it hands out; what arrives under ``path`` is whole or absent.

    Raises:
        RunError: if the disk is full or cannot be written; the older file, if there was one, is untouched.

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
    except (OSError, RuntimeError) as error:
        _forget(scratch)
        # When a write fails, torch still tries to end its archive, and the RuntimeError of that hides the OSError.
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        raise write_error(path, reason) from error
    except BaseException:
        _forget(scratch)
        raise


def _forget(scratch: Path) -> None:
    # Where the folder cannot be written there is no scratch file either, and a second error would hide the first.
    with suppress(OSError):
        scratch.unlink(missing_ok=True)


def write_error(path: Path, error: OSError) -> RunError:
    """What to tell the user when a file of a run cannot be written.

    Example:
        >>> print(write_error(Path("runs/a/state.ckpt"), PermissionError(errno.EACCES, "Permission denied")))
        cannot write runs/a/state.ckpt (Permission denied); what was saved before is untouched
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"cannot write {path} ({error.strerror or error}); what was saved before is untouched")
    free = shutil.disk_usage(_existing(path.parent)).free
    return RunError(
        f"no space left to write {path} ({free / 2**20:.1f} MiB free); what was saved before is untouched: "
        f"free some space, then start or resume the run again"
    )


def check_new(path: Path) -> None:
    """Refuse a place where no new run can be made, before anything is read or decoded in vain.

    Raises:
        RunError: if it is a file, is not empty, or cannot be written: a run is never overwritten.

    Example:
        >>> check_new(Path("runs/of/tomorrow"))
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"a run is a directory, and {path} is a file: choose another --out")
    if path.is_dir() and any(not _half_written(file) for file in path.iterdir()):
        if (path / "config.json").exists():
            raise RunError(
                f"{path} already holds a run: continue it with `tutelage resume {path}`, or choose another --out"
            )
        raise RunError(f"{path} is not empty and holds no run: choose another --out")
    above = _existing(path)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "is not writable" if above.is_dir() else "is a file"
        raise RunError(f"cannot make the directory {path}, since {above} {why}: choose another --out")


def _half_written(file: Path) -> bool:
    """Whether a process that was killed left it behind."""
    return file.suffix == ".part"


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


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
        self.divergence = path / "diverged.json"

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> "RunDir":
        """Make the directory of a new run.

        Raises:
            RunError: if it exists and is not empty, or cannot be written: a run is never overwritten.
        """
        check_new(path)
        run, made = cls(path), not path.exists()
        try:
            run.write_json("config.json", config)
        except RunError:
            if made and path.is_dir():
                path.rmdir()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """Find a run that was begun.

        Raises:
            RunError: if there is no ``config.json`` in it.
        """
        if not (path / "config.json").is_file():
            what = "it holds no config.json" if path.is_dir() else "there is no such directory"
            raise RunError(f"no run at {path}: {what}")
        for file in filter(_half_written, path.iterdir()):
            file.unlink(missing_ok=True)
        return cls(path)

    @property
    def finished(self) -> bool:
        """Whether the run wrote its result."""
        return (self.path / "result.json").is_file()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to do: it is finished, or it diverged."""
        return self.finished or self.divergence.is_file()

    def discard(self) -> None:
        """Take back a run that was refused before its first step, so that it can be started again as corrected."""
        for file in (self.path / "config.json", *self.path.glob("ledger.sqlite*")):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # what was in the directory before stays there
            self.path.rmdir()

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
            content = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{path} is damaged: it must hold a JSON object, got a {type(content).__name__}")
        return content

    def cut_metrics(self, size: int) -> None:
        """Forget the metrics written after a checkpoint: the resumed run writes them again."""
        # Truncating a shorter file would fill it with zeros, which no reader takes for lines of JSON.
        if self.metrics.exists() and self.metrics.stat().st_size > size:
            os.truncate(self.metrics, size)
