"""``tutelage teach``, ``distill`` and ``resume``.

Every option is a field of a config dataclass. The recipe and the method are looked up before the flags are read,
so that ``--help`` shows the defaults and the options that really apply.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg

from tutelage.engine import (
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
    from_json,
    resume,
    start,
)
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import METHODS, MethodConfig
from tutelage.recipes import recipe_for
from tutelage.rundir import RunDir

__all__ = ["carry_on", "distill", "teach"]


@dataclass(frozen=True, kw_only=True)
class Teach:
    """Train a network with labels alone: a teacher, or a student to compare with.

    Args:
        data: digits, cifar10, cifar100, folder:PATH, hf:NAME[:image_column:label_column], or the config.json of a
            run, whose settings then are the defaults.
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory (`tutelage list models`).
        taps: Features by role, where the model's own names do not fit: embedding=avgpool.
        out: Directory of the run; by default runs/ and a name made of data, method, model and seed.
        recipe: Where the defaults come from (`tutelage list recipes`).
        seed: Of initial weights, order and views.
        epochs: Passes over the training set.
        batch_size: Images a step.
        images_per_class: Batches hold this many images of each of their classes.
        size: Side of the images; by default that of the data, 224 for photographs.
        validation: Share of the training images held out to choose the best epoch.
        workers: Processes that read images which do not fit in memory.
        pretrained: Start from the weights that timm or the hub has.
    """

    data: Positional[str] = "digits"
    model: str = "zoo:digits_small"
    taps: Annotated[tuple[str, ...], arg(name="model.taps", metavar="ROLE=PATH")] = ()
    pretrained: bool = False
    out: Path | None = None
    recipe: str | None = None
    seed: int = 0
    epochs: int = 1
    batch_size: int = 1
    images_per_class: int | None = None
    size: int | None = None
    validation: float = 0.1
    workers: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(frozen=True, kw_only=True)
class Distill(Teach):
    """Distil a teacher into a student.

    Args:
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory (`tutelage list models`).
        teacher: A run directory, or a .safetensors file with its card beside it.
        teacher_taps: Features by role, where the teacher's own names do not fit.
        teacher_batch_size: Largest number of images the teacher sees at once.
        allow_bad_teacher: Go on with a teacher that is no better than chance.
        method: Which one (`tutelage list methods`); its settings appear below under its name.
    """

    model: Annotated[str, arg(name="student")] = "zoo:digits_small"
    taps: Annotated[tuple[str, ...], arg(name="student.taps", metavar="ROLE=PATH")] = ()
    teacher: str | None = None
    teacher_taps: Annotated[tuple[str, ...], arg(name="teacher.taps", metavar="ROLE=PATH")] = ()
    teacher_batch_size: Annotated[int | None, arg(name="teacher.batch-size")] = None
    allow_bad_teacher: bool = False
    method: str = "kd"


def teach(args: Sequence[str]) -> None:
    """Carry out ``tutelage teach``."""

    def ask(base: RunConfig) -> Teach:
        return tyro.cli(Teach, args=args, default=Teach(**_defaults(base)), prog="tutelage teach")

    base, asked = _asked(args, ask)
    _carry_out(replace(_filled(base, asked, None), teacher=None), asked)


def distill(args: Sequence[str]) -> None:
    """Carry out ``tutelage distill``: the flags of the chosen method are added to the others."""
    base, asked = _asked(args, lambda base: _ask_distill(args, base))
    if asked.teacher is None:
        raise ConfigError("a teacher is needed: --teacher RUN, made by `tutelage teach`, or a .safetensors file")
    teacher = TeacherConfig(
        weights=asked.teacher,
        taps=_roles(asked.teacher_taps),
        batch_size=asked.teacher_batch_size,
        allow_bad=asked.allow_bad_teacher,
    )
    _carry_out(replace(_filled(base, asked, getattr(asked, asked.method)), teacher=teacher), asked)


def _ask_distill(args: Sequence[str], base: RunConfig) -> Any:
    known = base.teacher or TeacherConfig(weights="")
    given = _glimpse(args).method or (base.method.name if base.method else "kd")
    if given not in METHODS:
        raise UnknownNameError("method", given, METHODS, hint="`tutelage list methods` shows them")
    settings: Any = base.method if base.method and base.method.name == given else METHODS[given]()
    kind = make_dataclass("Distill", [(given, METHODS[given], settings)], bases=(Distill,), frozen=True, kw_only=True)
    kind.__doc__ = Distill.__doc__
    defaults = _defaults(base) | {
        "teacher": known.weights or None,
        "teacher_taps": tuple(f"{role}={path}" for role, path in known.taps.items()),
        "teacher_batch_size": known.batch_size,
        "allow_bad_teacher": known.allow_bad,
        "method": given,
    }
    return tyro.cli(kind, args=args, default=kind(**defaults), prog="tutelage distill")


def _glimpse(args: Sequence[str]) -> argparse.Namespace:
    """What must be known before the flags can be listed."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    early.add_argument("--method")
    known, rest = early.parse_known_args(list(args))
    first = rest[0] if rest and not rest[0].startswith("-") else "digits"
    known.data = next((word for word in rest if word.endswith(".json")), first)
    return known


def _asked(args: Sequence[str], ask: Callable[[RunConfig], Any]) -> tuple[RunConfig, Any]:
    """The defaults and what was asked for.

    Where flags come before the data, the data is known after a first reading only: the second has its defaults.
    """
    early = _glimpse(args)
    base = _base(early.data, early.recipe)
    asked = ask(base)
    if asked.data not in (early.data, base.data.name):
        base = _base(asked.data, early.recipe)
        asked = ask(base)
    return base, asked


def _base(data: str, recipe: str | None) -> RunConfig:
    path = Path(data)
    if path.suffix != ".json":
        return recipe_for(data, recipe)
    run = RunDir(path.parent)
    return from_json(run.read_json(path.name))


def _defaults(base: RunConfig) -> dict[str, Any]:
    stage = base.stages[-1]
    return {
        "data": base.data.name,
        "model": base.student.model,
        "taps": tuple(f"{role}={path}" for role, path in base.student.taps.items()),
        "pretrained": base.student.pretrained,
        "seed": base.seed,
        "epochs": stage.epochs,
        "batch_size": base.data.batch_size,
        "images_per_class": base.data.images_per_class,
        "size": base.data.size,
        "validation": base.data.validation,
        "workers": base.data.workers,
        "optimizer": stage.optimizer,
        "schedule": stage.schedule,
        "engine": base.engine,
    }


def _filled(base: RunConfig, asked: Teach, method: MethodConfig | None) -> RunConfig:
    """The base with what was asked for in its place."""
    name = base.data.name if asked.data.endswith(".json") else asked.data
    data = replace(
        base.data,
        name=name,
        size=asked.size,
        validation=asked.validation,
        batch_size=asked.batch_size,
        images_per_class=asked.images_per_class,
        workers=asked.workers,
    )
    stage = replace(
        base.stages[-1],
        epochs=asked.epochs,
        method=method,
        optimizer=asked.optimizer,
        schedule=asked.schedule,
    )
    student = StudentConfig(model=asked.model, pretrained=asked.pretrained, taps=_roles(asked.taps))
    teacher = TeacherConfig(weights="") if method else None
    return RunConfig(
        data=data,
        student=student,
        teacher=teacher,
        stages=(*base.stages[:-1], stage),
        engine=asked.engine,
        seed=asked.seed,
    )


def _roles(pairs: Sequence[str]) -> dict[str, str]:
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise ConfigError(f"a tap is written ROLE=PATH, such as embedding=avgpool; got {bad[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _carry_out(config: RunConfig, asked: Teach) -> None:
    model = config.student.model.partition(":")[2].replace("/", "-").replace(":", "-") or config.student.model
    data = config.data.name.replace("/", "-").replace(":", "-")
    method = config.method.name if config.method else "ce"
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
