"""``tutelage compare`` and ``curve``: tables of many runs."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import tyro
from tyro.conf import Positional

from tutelage.cli.demo import Demo, carry_out, carry_out_runs
from tutelage.data.protocols import FewTeacherCalls, Standard
from tutelage.engine import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
)
from tutelage.engine.codec import protocol_from
from tutelage.engine.teacher_config import AnswersConfig
from tutelage.errors import ConfigError
from tutelage.methods import METHODS
from tutelage.recipes import ALONE, Variant, compare_runs, curve_runs, paired_up, recipe_for
from tutelage.recipes.words import read_word

__all__ = ["compare", "curve"]


@dataclass(frozen=True, kw_only=True)
class _Grid:
    data: Positional[str] = "digits"
    methods: tuple[str, ...] = ()
    seeds: int = 3
    first_seed: int = 0
    out: Path = Path("runs/grid")
    workers: int = 1
    recipe: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    @property
    def variants(self) -> list[Variant]:
        return [Variant.parse(text) for text in self.methods]

    @property
    def numbers(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def base(self) -> RunConfig:
        """What all runs share."""
        base = recipe_for(self.data, self.recipe)
        stage = base.stages[-1]
        stage = replace(stage, epochs=self.epochs or stage.epochs, optimizer=self.optimizer, schedule=self.schedule)
        data = replace(base.data, batch_size=self.batch_size or base.data.batch_size)
        return replace(base, data=data, stages=(stage,), engine=self.engine)


@dataclass(frozen=True, kw_only=True)
class Compare(_Grid):
    """Teach with several methods and seeds, and write one table: means, intervals, gains paired by seed, costs.

    What is finished in the directory is not repeated, and several processes may work on it at once.

    Args:
        data: digits, cifar10, cifar100, folder:PATH or hf:NAME[:image_column:label_column].
        teachers: Run directories, .safetensors files, or http:// addresses of servers.
        students: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory: one for each teacher, or one for all.
        methods: ce for labels alone, all for every method, or METHOD[:setting=value,…]; settings are those of the
            method, or mix, batch_size, images_per_class and lr: kd kd:mix=mixup ckd:k=2,distance=mse.
        shared_only: Where teacher and student do not have the same classes: let methods of logits compare those that
            both know.
        validation: Share of the training images held out to choose the best epoch.
        train_size: Train on about so many of the others, as many of each class; by default on all.
        protocol: NAME[:setting=value,…] (`tutelage list protocols`), in the place of the two above:
            cross-task:overlap=10,train_size=5000.
        cache: Keep the answers of the teacher for all methods of a seed: on, off, a folder, or auto (see distill).
        seeds: How many seeds each.
        first_seed: The first of them.
        out: Directory of the runs, the page, and the tables as Markdown, CSV and LaTeX.
        workers: Runs at once.
        recipe: Where the defaults come from (`tutelage list recipes`).
        preset: demo: the runs of `tutelage demo`, with every method; beside it stand out, seeds and workers only.
        epochs: Passes over the training images.
        batch_size: Images a step; by default those of the recipe.
        optimizer: How the weights move.
        schedule: How the learning rate moves.
        engine: Where and how.
    """

    teachers: tuple[str, ...] = ()
    students: tuple[str, ...] = ("zoo:digits_small",)
    methods: tuple[str, ...] = (ALONE, "kd", "ickd", "ckd")
    shared_only: bool = False
    validation: float | None = None
    train_size: int | None = None
    protocol: str | None = None
    cache: str = "auto"
    out: Path = Path("runs/compare")
    preset: Literal["demo"] | None = None


def compare(args: Sequence[str]) -> None:
    """Carry out ``tutelage compare``."""
    asked = _read(Compare, args)
    if asked.preset == "demo":
        _check_preset(asked, args)
        workers = max(asked.workers, min(4, os.cpu_count() or 1))
        carry_out(Demo(out=asked.out, methods=("all",), seeds=asked.seeds, workers=workers))
    else:
        carry_out_runs(_compared(asked), asked.out, workers=asked.workers)
    _write_tables(asked.out, title="Comparison")


def _check_preset(asked: Compare, args: Sequence[str]) -> None:
    given = [asked.data, *(word.partition("=")[0] for word in args if word.startswith("--"))]
    own = ("digits", "--preset", "--out", "--seeds", "--workers")
    if others := [word for word in given if word not in own]:
        raise ConfigError(f"--preset demo says what it compares: leave out {', '.join(others)}")


def _compared(asked: Compare) -> dict[str, RunConfig]:
    if not asked.teachers:
        raise ConfigError("a teacher is needed: --teachers RUN, made by `tutelage teach`, or a .safetensors file")
    base = asked.base()
    base = replace(base, data=_divided(base.data, asked))
    answers = AnswersConfig(cache=asked.cache)
    teachers = [TeacherConfig(weights=name, answers=answers, shared_only=asked.shared_only) for name in asked.teachers]
    words = [word for text in asked.methods for word in ((ALONE, *METHODS) if text == "all" else (text,))]
    variants = replace(asked, methods=tuple(words)).variants
    return compare_runs(base, paired_up(teachers, asked.students), variants, seeds=asked.numbers)


def _divided(data: DataConfig, asked: Compare) -> DataConfig:
    share = data.validation if asked.validation is None else asked.validation
    if asked.protocol is None:
        few = None if asked.train_size is None else Standard(validation=share, train_size=asked.train_size)
        return replace(data, validation=share, protocol=few)
    for flag, given in (("validation", asked.validation), ("train-size", asked.train_size)):
        if given is not None:
            raise ConfigError(f"with --protocol the settings stand in its word: leave out --{flag}")
    return replace(data, protocol=protocol_from(*read_word(asked.protocol, "protocol")))


def _write_tables(out: Path, *, title: str) -> None:
    from tutelage.report import markdown_table, write_page, write_tables

    print(markdown_table(out))
    print(f"The tables: {', '.join(map(str, write_tables(out, out)))}")
    print(f"The page: {write_page(out, out / 'report.html', title=title)}")


@dataclass(frozen=True, kw_only=True)
class Curve(_Grid):
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

    teacher: str = ""
    student: str = "zoo:digits_small"
    methods: tuple[str, ...] = (ALONE, "kd", "logit_mse", "ckd")
    sizes: tuple[int, ...] = (2000, 4000)
    unused: Literal["ignore", "labels"] = "ignore"
    out: Path = Path("runs/curve")
    images: int | None = None
    batch_size: int | None = 64


def curve(args: Sequence[str]) -> None:
    """Carry out ``tutelage curve``."""
    from tutelage.report import markdown_curve, write_page

    asked = _read(Curve, args)
    if not asked.teacher:
        raise ConfigError("a teacher is needed: --teacher RUN, made by `tutelage teach`, or a .safetensors file")
    if asked.epochs is not None and asked.images is not None:
        raise ConfigError(f"give epochs or images, not both; got {asked.epochs} and {asked.images}")
    runs = curve_runs(
        replace(asked.base(), student=StudentConfig(model=asked.student)),
        TeacherConfig(weights=asked.teacher, answers=AnswersConfig(view="once")),
        asked.variants,
        protocols=[FewTeacherCalls(subset_size=size, unused=asked.unused) for size in asked.sizes],
        seeds=asked.numbers,
        images=asked.images,
    )
    carry_out_runs(runs, asked.out, workers=asked.workers)
    print(markdown_curve(asked.out))
    print(f"The page: {write_page(asked.out, asked.out / 'report.html', title='Accuracy against teacher calls')}")


Asked = TypeVar("Asked", bound=_Grid)


def _read(kind: type[Asked], args: Sequence[str]) -> Asked:
    """The flags; their defaults are those of the recipe, which must be known before."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    known, rest = early.parse_known_args(list(args))
    data = rest[0] if rest and not rest[0].startswith("-") else "digits"
    base = recipe_for(data, known.recipe)
    stage = base.stages[-1]
    start = kind(data=data, optimizer=stage.optimizer, schedule=stage.schedule, engine=base.engine)
    return tyro.cli(kind, args=args, default=start, prog=f"tutelage {kind.__name__.lower()}")
