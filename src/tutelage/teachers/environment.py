"""One LMDB environment a process and folder: it grows by itself, survives forks, and its errors say what to do."""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tutelage.errors import DataError
from tutelage.rundir import write_error

__all__ = ["Environment", "close", "environment"]

T = TypeVar("T")

FIRST_SIZE = 64 * 2**20
"""Bytes of address space of a new store; it doubles when full. The file itself is only as large as what it holds."""

_OPEN: dict[Path, "Environment"] = {}
_LOCK = threading.Lock()


def environment(path: Path, *, create: bool = False) -> "Environment":
    """The environment of a folder, opened at most once in a process, as LMDB demands.

    A forked process opens its own: LMDB forbids to carry one over a fork.

    Raises:
        DataError: if there is none, or it cannot be read.
        RunError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> environment(folder, create=True) is environment(folder)
        True
    """
    key = path.resolve()
    with _LOCK:
        if key not in _OPEN:
            _OPEN[key] = Environment(key, create=create)
        return _OPEN[key]


def close(path: Path) -> None:
    """Let go of a folder in this process, such as before it is deleted."""
    with _LOCK:
        held = _OPEN.pop(path.resolve(), None)
    if held is not None:
        held.close()


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread may have held it at the fork
    # LMDB opens no folder twice in a process, and still counts the parent's; the parent's own stays open.
    for held in _OPEN.values():
        held.close()
    _OPEN.clear()


os.register_at_fork(after_in_child=_after_fork)


class Environment:
    """Transactions of one folder; use :func:`environment`.

    Args:
        path: The folder.
        create: Whether it may be made.

    Raises:
        DataError: if it is absent or damaged.
        RunError: if it cannot be written.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        import lmdb

        self.path = path
        self._mutex = threading.RLock()
        if not create and not (path / "data.mdb").is_file():
            raise DataError(f"there is no cache of answers in {path}: fill one first, or look for its folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Without read-ahead: rows are read at random, and the store may be larger than memory.
            self._env: Any = lmdb.open(str(path), map_size=FIRST_SIZE, readahead=False, max_readers=512, meminit=False)
            self._asking = os.open(path / "asking.lock", os.O_RDWR | os.O_CREAT, 0o666)
            for folder in (path, path.parent):
                _sync(folder)
        except OSError as error:
            raise write_error(path, error) from error
        except lmdb.Error as error:
            raise DataError(f"the cache of answers in {path} cannot be opened ({error})") from error
        self._env.reader_check()  # killed processes leave their places taken

    def close(self) -> None:
        """Close both files."""
        self._env.close()
        os.close(self._asking)

    def read(self, work: Callable[[Any], T]) -> T:
        """What ``work`` returns for a read transaction.

        Raises:
            DataError: if the file is damaged.
        """
        import lmdb

        with self._mutex:
            while True:
                try:
                    with self._env.begin(buffers=False) as transaction:
                        return work(transaction)
                except lmdb.MapResizedError:  # another process made it grow
                    self._env.set_mapsize(0)
                except lmdb.Error as error:
                    raise DataError(f"the cache of answers in {self.path} cannot be read ({error})") from error

    def write(self, work: Callable[[Any], T]) -> T:
        """What ``work`` returns for a write transaction, which is on disk when this returns.

        Raises:
            RunError: if it cannot be written; what was stored before is untouched.
        """
        import lmdb

        with self._mutex:
            while True:
                try:
                    with self._env.begin(write=True) as transaction:
                        return work(transaction)
                except lmdb.MapFullError:
                    self._env.set_mapsize(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)
                except lmdb.DiskError as error:
                    raise write_error(self.path, OSError(errno.ENOSPC, str(error))) from error
                except lmdb.Error as error:
                    raise write_error(self.path, OSError(errno.EIO, str(error))) from error

    @contextmanager
    def asking(self, places: Sequence[int]) -> Iterator[None]:
        """Hold these places, each a byte of a lock file, against every other process; a killed process lets go.

        Args:
            places: Ascending, so that two processes never wait for each other.
        """
        with self._mutex:
            try:
                for place in places:
                    fcntl.lockf(self._asking, fcntl.LOCK_EX, 1, place)
                yield
            finally:
                fcntl.lockf(self._asking, fcntl.LOCK_UN)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
