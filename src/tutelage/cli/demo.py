"""``tutelage demo``: what distillation does, on real images, in minutes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from tutelage.engine import run_grid
from tutelage.errors import ConfigError
from tutelage.recipes import DEMO_METHODS, demo_students, demo_teachers

__all__ = ["Demo", "carry_out", "demo", "say"]


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


def say(line: str) -> None:
    """Print a line at once: several processes may speak."""
    print(line, flush=True)


def demo(args: Sequence[str]) -> None:
    """Carry out ``tutelage demo``."""
    from tutelage.report import markdown_table, write_page

    asked = tyro.cli(Demo, args=args, prog="tutelage demo")
    carry_out(asked)
    print(markdown_table(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='tutelage demo: digits')}")


def carry_out(asked: Demo) -> None:
    """The teacher, then all students.

    Raises:
        ConfigError: if no seed is asked for.
    """
    if asked.seeds < 1:
        raise ConfigError(f"the demo needs at least one seed a method, got {asked.seeds}")
    students = demo_students(asked.out, seeds=asked.seeds, methods=asked.methods)
    run_grid(demo_teachers(), asked.out, tell=say, workers=min(2, asked.workers))
    run_grid(students, asked.out, tell=say, workers=asked.workers)
