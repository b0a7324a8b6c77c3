"""Many runs as one piece of work: what is finished is not repeated, what was stopped goes on, and others may help."""

import fcntl
import gc
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tutelage.engine.codec import from_json, to_json
from tutelage.engine.config import RunConfig
from tutelage.engine.run import resume, start
from tutelage.errors import DivergedError, RunError, TutelageError
from tutelage.ops.checks import check_positive
from tutelage.rundir import RunDir, write_error

__all__ = ["run_grid"]


def _silent(line: str) -> None:
    pass


def run_grid(
    cells: Mapping[str, RunConfig],
    folder: Path,
    *,
    tell: Callable[[str], None] = _silent,
    workers: int = 1,
) -> list[str]:
    """Carry out every cell that is not finished.

    Several processes, or machines with a common disk, can work on one folder: each takes cells that no other has. A
    run that diverges is an outcome, which its directory keeps, and the others go on; what else stops a run stops all.

    Args:
        cells: Name → run.
        folder: Of the runs, one directory a cell.
        tell: Is given a line for each cell that was carried out or diverged; with workers, a function of a module.
        workers: Processes on this machine, which share its cores.

    Returns:
        The cells that other processes were still at when this one found nothing more to do.

    Raises:
        RunError: if a cell's directory holds a run with other settings; nothing is carried out then.
        TutelageError: whatever else stops a run.
    """
    for name, config in cells.items():
        _check_same(folder / name, config)
    check_positive(workers=workers)
    if workers == 1:
        return _carry_out(cells, folder, tell)
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    helpers = [context.Process(target=_help, args=(cells, folder, tell, threads)) for _ in range(workers - 1)]
    for helper in helpers:
        helper.start()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _carry_out(cells, folder, tell)
        for helper in helpers:
            helper.join()
        return _carry_out(cells, folder, tell)  # what stopped a helper stops this process too, and is told
    finally:
        for helper in helpers:
            helper.terminate()  # it saves what it is at
            helper.join()
        torch.set_num_threads(before)


def _help(cells: Mapping[str, RunConfig], folder: Path, tell: Callable[[str], None], threads: int) -> None:
    """What a worker does; its errors are met again by the process that asked for it."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", module="lightning_fabric")
    with suppress(TutelageError):
        _carry_out(cells, folder, tell)


@contextmanager
def _thawing() -> Iterator[None]:
    try:
        yield
    finally:
        gc.unfreeze()


@_thawing()
def _carry_out(cells: Mapping[str, RunConfig], folder: Path, tell: Callable[[str], None]) -> list[str]:
    taken = []
    for number, (name, config) in enumerate(cells.items(), start=1):
        path = folder / name
        with _claimed(folder / ".claims", name) as mine:
            if RunDir(path).ended:
                continue
            if not mine:
                taken.append(name)
                continue
            told = _outcome(config, path)
        tell(f"[{number}/{len(cells)}] {name}: {told}")
    return [name for name in taken if not RunDir(folder / name).ended]


def _outcome(config: RunConfig, path: Path) -> str:
    gc.collect()
    gc.freeze()  # until the grid ends: a run collects too, and to look through the libraries alone takes 0.1 s
    try:
        result = resume(path) if (path / "config.json").exists() else start(config, path)
    except DivergedError as error:
        return f"diverged, {error}"
    return f"test accuracy {result['accuracy']['last']['test']:.1%}, {result['seconds']:.1f} s"


def _check_same(path: Path, config: RunConfig) -> None:
    """The run on disk must be this one: a setting that was not there yet when it was written has its default."""
    if not (path / "config.json").exists():
        return
    held = to_json(from_json(RunDir(path).read_json("config.json")))
    wanted = to_json(from_json(to_json(config)))
    if held != wanted:
        wrong = sorted(key for key in {*held, *wanted} if held.get(key) != wanted.get(key))
        raise RunError(
            f"{path} holds a run with other settings (they differ in {', '.join(wrong)}): choose another --out, or "
            f"delete that run"
        )


@contextmanager
def _claimed(folder: Path, name: str) -> Iterator[bool]:
    """Whether this process has the cell to itself; a lock of the system ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("w")
    except OSError as error:
        raise write_error(folder / name, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
