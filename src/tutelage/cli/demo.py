"""``tutelage demo``: what distillation does, on real images, in minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from tutelage.engine import run_grid
from tutelage.errors import ConfigError
from tutelage.recipes import demo_students, demo_teacher

__all__ = ["demo"]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Teach and distil small networks on handwritten digits with every method, and write the page.

    Args:
        out: Directory of the runs; what is finished in it is not repeated.
        seeds: Seeds a method.
    """

    out: Path = Path("runs/demo")
    seeds: int = 3


def demo(args: Sequence[str]) -> None:
    """Carry out ``tutelage demo``."""
    from tutelage.report import markdown_table, write_page

    asked = tyro.cli(Demo, args=args, prog="tutelage demo")
    if asked.seeds < 1:
        raise ConfigError(f"the demo needs at least one seed a method, got {asked.seeds}")
    teacher = asked.out / "teacher"
    runs = {"teacher": demo_teacher(), **demo_students(teacher, seeds=asked.seeds)}
    run_grid(runs, asked.out, tell=lambda line: print(line, flush=True))
    print(markdown_table(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='tutelage demo: digits')}")
