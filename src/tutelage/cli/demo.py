"""``tutelage demo``: what distillation does, on real images, in minutes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from tutelage.engine import RunConfig, run_grid
from tutelage.engine.filling import fill_answers
from tutelage.errors import ConfigError, RunError
from tutelage.recipes import DEMO_METHODS, demo_answers, demo_students, demo_teachers

__all__ = ["Demo", "carry_out", "carry_out_runs", "demo"]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Teach and distil small networks on handwritten digits, and write the page.

    Args:
        out: Directory of the runs; what is finished in it is not repeated.
        methods: What is compared, written as for `tutelage compare`; all for every method.
        seeds: Seeds a method.
        workers: Runs at once; by default one a core, four at most.
    """

    out: Path = Path("runs/demo")
    methods: tuple[str, ...] = DEMO_METHODS
    seeds: int = 3
    workers: int = min(4, os.cpu_count() or 1)


def demo(args: Sequence[str]) -> None:
    """Carry out ``tutelage demo``."""
    from tutelage.report import markdown_table, write_page

    asked = tyro.cli(Demo, args=args, prog="tutelage demo")
    carry_out(asked)
    print(markdown_table(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='tutelage demo: digits')}")


def carry_out(asked: Demo) -> None:
    """The teachers, their answers to all views of all images, then all students.

    Raises:
        ConfigError: if no seed is asked for.
        RunError: if another process is still at the teachers.
    """
    if asked.seeds < 1:
        raise ConfigError(f"the demo needs at least one seed a method, got {asked.seeds}")
    students = demo_students(asked.out, seeds=asked.seeds, methods=asked.methods)
    first = demo_teachers() | {name: run for name, run in students.items() if run.teacher is None}
    left = run_grid(first, asked.out, tell=_say, workers=asked.workers)
    if untaught := [name for name in demo_teachers() if name in left]:
        raise RunError(f"another process still trains {', '.join(untaught)} in {asked.out}: join it when that is done")
    for run in demo_answers(asked.out):
        filled = fill_answers(run, all_views=True)
        _say(f"{filled.path}: {filled.wanted:,} answers of a teacher, of which {filled.held:,} were there already")
    carry_out_runs(students, asked.out, workers=asked.workers)


def carry_out_runs(runs: Mapping[str, RunConfig], out: Path, *, workers: int) -> None:
    """Carry out a grid, and say what is done and what is left."""
    left = run_grid(runs, out, tell=_say, workers=workers)
    if left:
        _say(f"{len(left)} runs are still under way in other processes; the tables are without them")


def _say(line: str) -> None:
    """Print a line at once: several processes may speak."""
    print(line, flush=True)
