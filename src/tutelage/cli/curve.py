"""``tutelage curve``: accuracy against the number of teacher calls."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro
from tyro.conf import Positional

from tutelage.cli.demo import say
from tutelage.data.protocols import FewTeacherCalls
from tutelage.engine import (
    EngineConfig,
    OptimizerConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
    run_grid,
)
from tutelage.engine.teacher_config import AnswersConfig
from tutelage.errors import ConfigError
from tutelage.recipes import Variant, curve_runs, recipe_for

__all__ = ["curve"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Distil with several methods from few answers of the teacher, each image sent once, and draw the curve.

    What is finished in the directory is not repeated, and several processes may work on it at once.

    Args:
        data: digits, cifar10, cifar100, folder:PATH or hf:NAME[:image_column:label_column].
        teacher: A run directory, a .safetensors file, or the http:// address of a server.
        student: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory.
        methods: ce for labels alone, or METHOD[:setting=value,…]; settings are those of the method, or mix,
            batch_size, images_per_class and lr: kd kd:mix=mixup ckd:k=2,distance=mse.
        sizes: Images of the subsets; a fifth of each is held out, the others are sent to the teacher.
        unused: What becomes of all other images.
        seeds: How many seeds each.
        first_seed: The first of them.
        out: Directory of the runs and the page.
        workers: Runs at once.
        recipe: Where the defaults come from (`tutelage list recipes`).
        epochs: Passes over the subset.
        images: Images that every run forwards, in the place of epochs: equal cost whatever the subset.
        batch_size: Images a step.
        optimizer: How the weights move.
        schedule: How the learning rate moves.
        engine: Where and how.
    """

    data: Positional[str] = "digits"
    teacher: str = ""
    student: str = "zoo:digits_small"
    methods: tuple[str, ...] = ("ce", "kd", "logit_mse", "ckd")
    sizes: tuple[int, ...] = (2000, 4000)
    unused: str = "ignore"
    seeds: int = 3
    first_seed: int = 0
    out: Path = Path("runs/curve")
    workers: int = 1
    recipe: str | None = None
    epochs: int | None = None
    images: int | None = None
    batch_size: int = 64
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


def curve(args: Sequence[str]) -> None:
    """Carry out ``tutelage curve``."""
    from tutelage.report import markdown_curve, write_page

    recipe, data = _glimpse(args)
    base = recipe_for(data, recipe)
    stage = base.stages[-1]
    start = Curve(data=data, optimizer=stage.optimizer, schedule=stage.schedule, engine=base.engine)
    asked = tyro.cli(Curve, args=args, default=start, prog="tutelage curve")
    if not asked.teacher:
        raise ConfigError("a teacher is needed: --teacher RUN, made by `tutelage teach`, or a .safetensors file")
    if asked.epochs is not None and asked.images is not None:
        raise ConfigError(f"give epochs or images, not both; got {asked.epochs} and {asked.images}")
    stage = replace(stage, epochs=asked.epochs or stage.epochs, optimizer=asked.optimizer, schedule=asked.schedule)
    base = replace(
        base,
        data=replace(base.data, name=asked.data, batch_size=asked.batch_size),
        student=StudentConfig(model=asked.student),
        stages=(stage,),
        engine=asked.engine,
    )
    runs = curve_runs(
        base,
        TeacherConfig(weights=asked.teacher, answers=AnswersConfig(view="once")),
        [Variant.parse(text) for text in asked.methods],
        protocols=[FewTeacherCalls(subset_size=size, unused=asked.unused) for size in asked.sizes],  # type: ignore[arg-type]
        seeds=range(asked.first_seed, asked.first_seed + asked.seeds),
        images=asked.images,
    )
    left = run_grid(runs, asked.out, tell=say, workers=asked.workers)
    if left:
        print(f"{len(left)} runs are still under way in other processes; the tables are without them")
    print(markdown_curve(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='Accuracy against teacher calls')}")


def _glimpse(args: Sequence[str]) -> tuple[str | None, str]:
    """The recipe and the data, which must be known before the defaults are."""
    import argparse

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    known, rest = early.parse_known_args(list(args))
    return known.recipe, rest[0] if rest and not rest[0].startswith("-") else "digits"
