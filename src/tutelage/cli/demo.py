"""``tutelage demo``: what distillation does, on real images, in minutes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from tutelage.engine import run_grid
from tutelage.errors import ConfigError
from tutelage.recipes import demo_students, demo_teacher

__all__ = ["demo", "say"]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Teach and distil small networks on handwritten digits with every method, and write the page.

    Args:
        out: Directory of the runs; what is finished in it is not repeated.
        seeds: Seeds a method.
        workers: Runs at once; by default one a core, four at most.
    """

    out: Path = Path("runs/demo")
    seeds: int = 3
    workers: int = min(4, os.cpu_count() or 1)


def say(line: str) -> None:
    """Print a line at once: several processes may speak."""
    print(line, flush=True)


def demo(args: Sequence[str]) -> None:
    """Carry out ``tutelage demo``."""
    from tutelage.report import markdown_table, write_page

    asked = tyro.cli(Demo, args=args, prog="tutelage demo")
    if asked.seeds < 1:
        raise ConfigError(f"the demo needs at least one seed a method, got {asked.seeds}")
    teacher = asked.out / "teacher"
    run_grid({"teacher": demo_teacher()}, asked.out, tell=say)
    run_grid(demo_students(teacher, seeds=asked.seeds), asked.out, tell=say, workers=asked.workers)
    print(markdown_table(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='tutelage demo: digits')}")
