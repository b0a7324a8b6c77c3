"""``tutelage teach``, ``distill`` and ``resume``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from tutelage.cli.flags import distilled, taught
from tutelage.cli.options import Teach
from tutelage.engine import RunConfig, resume, start

__all__ = ["carry_on", "distill", "teach"]


def teach(args: Sequence[str]) -> None:
    """Carry out ``tutelage teach``."""
    _carry_out(*taught(args))


def distill(args: Sequence[str]) -> None:
    """Carry out ``tutelage distill``: the flags of the chosen method are added to the others."""
    _carry_out(*distilled(args))


def _carry_out(config: RunConfig, asked: Teach) -> None:
    model = config.student.model.partition(":")[2].replace("/", "-").replace(":", "-") or config.student.model
    data = config.data.name.replace("/", "-").replace(":", "-")
    method = config.method.name.replace("*", "x") if config.method else "ce"
    out = asked.out or Path("runs") / f"{data}-{method}-{model}-seed{config.seed}"
    result = start(config, out)
    last, best = result["accuracy"]["last"], result["accuracy"]["best"]
    print(
        f"{out}: test accuracy {last['test']:.2%} after {last['epoch']} epochs "
        f"({best['test']:.2%} at the best epoch on validation, {best['epoch']}); "
        f"{result['images_per_second']:,.0f} images/s"
    )


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped; the result is that of a run that was not.

    Args:
        run: Its directory.
    """

    run: Positional[Path]


def carry_on(args: Sequence[str]) -> None:
    """Carry out ``tutelage resume``."""
    asked = tyro.cli(Resume, args=args, prog="tutelage resume")
    result = resume(asked.run)
    print(f"{asked.run}: test accuracy {result['accuracy']['last']['test']:.2%}")
