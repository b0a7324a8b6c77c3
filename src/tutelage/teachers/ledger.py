"""The ledger of teacher calls: who asked when for what, at what price; never more rows than the budget."""

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tutelage.errors import BudgetError, DataError, RunError
from tutelage.rundir import write_error

__all__ = ["Call", "Ledger"]

_PATIENCE = 60.0
"""Seconds to wait for other processes: for them to write a few hundred rows, and for the disk."""

_TABLES = """
CREATE TABLE IF NOT EXISTS subject (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER NOT NULL, view INTEGER NOT NULL, state TEXT NOT NULL CHECK (state IN ('reserved', 'paid')),
    run TEXT NOT NULL, reserved_at REAL NOT NULL, paid_at REAL, cost REAL NOT NULL, PRIMARY KEY (id, view)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Call:
    """One row of the ledger.

    Args:
        id: Row of the sample in its data set.
        view: Number of its view.
        state: ``"reserved"`` before it is sent, ``"paid"`` when the answer has come.
        run: Who asked.
        reserved_at: When, in seconds since 1970.
        paid_at: When the answer came, likewise.
        cost: Its price.
    """

    id: int
    view: int
    state: str
    run: str
    reserved_at: float
    paid_at: float | None
    cost: float


class Ledger:
    """A file of calls, one row for each (id, view), written to disk before anything is sent.

    A row is reserved before its sample is sent, and paid when the answer has come. What a process that died had
    reserved stays reserved: the sample may be asked again, and counts once. An (id, view) names a sample of one
    teacher, data set and family of views only, so keep the file in the folder of their answers: ``store.path``.

    Args:
        path: The file; made if it is absent.
        run: Who asks, noted in each row.

    Raises:
        DataError: if the file is no ledger.
        RunError: if it cannot be written.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "ledger.sqlite", run="first")
        >>> ids = torch.tensor([4, 5, 6])
        >>> ledger.reserve(ids, 0 * ids, budget=2, cost=0.01, partly=True)
        tensor([ True,  True, False])
        >>> ledger.pay(ids[:2], 0 * ids[:2])
        >>> len(ledger), ledger.cost
        (2, 0.02)
    """

    def __init__(self, path: Path, *, run: str = "") -> None:
        self.path, self.run = path, run
        self._lock = threading.Lock()
        self._connections: dict[int, sqlite3.Connection] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(path, error) from error
        with self._transaction() as connection:
            for statement in _TABLES.split(";")[:-1]:
                connection.execute(statement)

    def bind(self, subject: str) -> None:
        """Say whose calls these are: the first caller decides.

        Raises:
            DataError: if the ledger is that of another teacher.
        """
        with self._transaction() as connection:
            held = connection.execute("SELECT name FROM subject").fetchone()
            if held is None:
                connection.execute("INSERT INTO subject VALUES (?)", (subject,))
            elif held[0] != subject:
                raise DataError(
                    f"{self.path} counts the calls of teacher {held[0]}, not of {subject}: use another file"
                )

    def reserve(
        self,
        ids: Int64[Tensor, " n"],
        views: Int64[Tensor, " n"],
        *,
        budget: int | None,
        cost: float = 0.0,
        partly: bool = False,
    ) -> Bool[Tensor, " n"]:
        """Which of these may be sent; they are on disk as reserved when this returns.

        What is in the ledger already may be sent again and is not counted again.

        Args:
            ids: Rows of the samples.
            views: Their views.
            budget: The most rows that the ledger may ever hold; ``None``: as many as there are.
            cost: Price of one.
            partly: Whether to reserve the first ones when not all can be, rather than raise.

        Raises:
            BudgetError: if not all can be sent, unless ``partly``; nothing is reserved then.
        """
        pairs = list(zip(ids.tolist(), views.tolist(), strict=True))
        with self._transaction() as connection:
            find = "SELECT 1 FROM calls WHERE id = ? AND view = ?"
            held = {pair for pair in pairs if connection.execute(find, pair).fetchone()}
            new = [pair for pair in dict.fromkeys(pairs) if pair not in held]
            room = len(new) if budget is None else max(budget - _count(connection), 0)
            if len(new) > room and not partly:
                raise BudgetError(
                    f"the budget of {budget} teacher calls has {room} left and this batch needs {len(new)}; none of "
                    f"it was sent: raise the budget, or go on with the answers at hand (exhausted='skip')"
                )
            now, allowed = time.time(), new[:room]
            connection.executemany(
                "INSERT INTO calls VALUES (?, ?, 'reserved', ?, ?, NULL, ?)",
                [(*pair, self.run, now, cost) for pair in allowed],
            )
        held.update(allowed)
        return torch.tensor([pair in held for pair in pairs], dtype=torch.bool)

    def pay(self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]) -> None:
        """Note that these were answered."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE calls SET state = 'paid', paid_at = ? WHERE id = ? AND view = ? AND state = 'reserved'",
                [(time.time(), *pair) for pair in zip(ids.tolist(), views.tolist(), strict=True)],
            )

    def holds(self, ids: Int64[Tensor, " n"], views: Int64[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Which of these are noted already: to send them again is not counted again.

        Args:
            ids: Rows of the samples.
            views: Their views.
        """
        with self._transaction() as connection:
            held = set(connection.execute("SELECT id, view FROM calls"))
        pairs = zip(ids.tolist(), views.tolist(), strict=True)
        return torch.tensor([pair in held for pair in pairs], dtype=torch.bool)

    def __len__(self) -> int:
        with self._transaction() as connection:
            return _count(connection)

    @property
    def cost(self) -> float:
        """The sum of all prices."""
        with self._transaction() as connection:
            return float(connection.execute("SELECT COALESCE(SUM(cost), 0) FROM calls").fetchone()[0])

    def calls(self) -> list[Call]:
        """All rows, in the order in which they were reserved."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id, view, state, run, reserved_at, paid_at, cost FROM calls ORDER BY reserved_at, id, view"
            )
            return [Call(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, alone among all processes, on disk at its end."""
        try:
            with self._lock:
                connection = self._connect()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise write_error(self.path, OSError(errno.ENOSPC, str(error))) from error
            raise RunError(f"cannot write the ledger {self.path} ({error}); nothing that it held is lost") from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is not a ledger, or damaged ({error}): keep it, and use another") from error

    def _connect(self) -> sqlite3.Connection:
        """The connection of this process: SQLite forbids to carry one over a fork."""
        process = os.getpid()
        if process not in self._connections:
            connection = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            self._connections[process] = connection
        return self._connections[process]


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the journal that lets others read: of processes that do so at once, SQLite lets only one not fail."""
    latest = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > latest:
                raise
            time.sleep(0.005)


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
