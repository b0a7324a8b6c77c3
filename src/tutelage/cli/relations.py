"""``tutelage relate``: how a student sees samples relate, beside its teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

from tutelage.engine import EngineConfig
from tutelage.engine.relation_noise import NOISE
from tutelage.engine.relations import RELATIONS, SAMPLES, relate

__all__ = ["related"]


@dataclass(frozen=True, kw_only=True)
class Relate:
    """Measure how samples relate for the student of a finished run and its teacher; `tutelage report` then shows it.

    Neighbour overlap, class purity, CKA, agreement, calibration and the correlation of outputs; a few samples with
    what is near them and where the channels answer; the share of active channels, and the accuracy under noise on the
    student's weights. A teacher whose calls cost is not asked; the figures are then of the student alone.

    Args:
        run: Its directory; relations.json is written there.
        split: Which images; they are not augmented.
        samples: The most of them; a larger split is sampled, alike for every run.
        k: Neighbours of a sample.
        teacher: A stored network to compare with instead of the run's own teacher, as for a student that had none.
        noise: Standard deviations of Gaussian noise on the weights, in units of the root mean square of each tensor;
            for each, accuracy is measured 5 times. None after the flag: it is left out.
        engine: Where and how.
    """

    run: Positional[Path]
    split: Literal["validation", "test"] = "test"
    samples: int = SAMPLES
    k: int = 10
    teacher: Path | None = None
    noise: tuple[float, ...] = NOISE
    engine: EngineConfig = field(default_factory=lambda: EngineConfig(precision="32"))


def related(args: Sequence[str]) -> None:
    """Carry out ``tutelage relate``."""
    asked = tyro.cli(Relate, args=args, prog="tutelage relate")
    found = relate(
        asked.run,
        split=asked.split,
        samples=asked.samples,
        k=asked.k,
        teacher=asked.teacher,
        noise=asked.noise,
        engine=asked.engine,
    )
    print(f"{asked.run / RELATIONS}: {found['samples']:,} {found['split']} images")
    for who in ("student", "teacher"):
        if (about := found[who]) is not None:
            told = [("accuracy", about["accuracy"]), ("class purity", about["purity"]), ("ECE", about["ece"])]
            print(f"  {who}: {_listed(told)}")
    if found["figures"] is not None:
        print(f"  both: {_listed([(name.replace('_', ' '), value) for name, value in found['figures'].items()])}")
    else:
        print(f"  no teacher was asked: {found['teacher_left_out']}")
    if (channels := found["channels"]) is not None:
        told = [*channels["student"].items(), *([("teacher", channels["teacher"])] if found["teacher"] else [])]
        print(f"  active channels of {channels['role']}: {_listed(told)}")
    if (noise := found["noise"]) is not None:
        means = [(f"{level['sigma']:g}", sum(level["accuracy"]) / noise["draws"]) for level in noise["levels"]]
        print(f"  accuracy under noise: {_listed(means)}")


def _listed(figures: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(f"{name} {'undefined' if value is None else format(value, '.3f')}" for name, value in figures)
