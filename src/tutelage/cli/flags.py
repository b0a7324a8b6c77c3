"""The flags of ``tutelage teach`` and ``distill``, and the run that they describe.

Every option is a field of a config dataclass. The recipe, the method and the protocol are looked up before the flags
are read, so that ``--help`` shows the defaults and the options that really apply.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from tutelage.cli.words import taps_by_role
from tutelage.data import Mixing
from tutelage.data.protocols import PROTOCOLS
from tutelage.engine import (
    AnswersConfig,
    EngineConfig,
    HttpConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StudentConfig,
    TeacherConfig,
    from_json,
)
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import METHODS, MethodConfig, is_taught, learns_from_peers
from tutelage.recipes import recipe_for
from tutelage.rundir import RunDir

__all__ = ["Distill", "Teach", "distilled", "taught", "teacher_of"]


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
        protocol: Which images train, are held out, and may be sent to a teacher (`tutelage list protocols`); its
            settings appear below under its name.
        mix: Train on mixtures of images.
        mix_alpha: Of the distribution of the shares.
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
    protocol: str | None = None
    mix: Literal["mixup", "mixup3", "cutmix"] | None = None
    mix_alpha: Annotated[float, arg(name="mix.alpha")] = 1.0
    workers: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(frozen=True, kw_only=True)
class Distill(Teach):
    """Distil a teacher into a student.

    Args:
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory (`tutelage list models`).
        teacher: A run directory, a .safetensors file with its card beside it, the http:// address of a server (see
            `tutelage serve-teacher`), python:pkg.module:function, or ema or snapshot for a copy of the student.
        teacher_gives: What a Python function answers with.
        teacher_taps: Features by role, where the teacher's own names do not fit.
        teacher_batch_size: Largest number of images the teacher sees at once.
        allow_bad_teacher: Go on with a teacher that is no better than chance.
        peers: Networks that learn at the same time, for methods that learn from peers (dml); by default one more of
            the student's model.
        answers: What the teacher is asked, what that costs, and what becomes of its answers.
        http: How a server is asked.
        method: Which one (`tutelage list methods`); its settings appear below under its name.
    """

    model: Annotated[str, arg(name="student")] = "zoo:digits_small"
    taps: Annotated[tuple[str, ...], arg(name="student.taps", metavar="ROLE=PATH")] = ()
    teacher: str | None = None
    teacher_gives: Annotated[Literal["logits", "probabilities"], arg(name="teacher.gives")] = "logits"
    teacher_taps: Annotated[tuple[str, ...], arg(name="teacher.taps", metavar="ROLE=PATH")] = ()
    teacher_batch_size: Annotated[int | None, arg(name="teacher.batch-size")] = None
    allow_bad_teacher: bool = False
    peers: tuple[str, ...] = ()
    answers: Annotated[AnswersConfig, arg(name="teacher")] = field(default_factory=AnswersConfig)
    http: Annotated[HttpConfig, arg(name="teacher.http")] = field(default_factory=HttpConfig)
    method: str = "kd"


def taught(args: Sequence[str]) -> tuple[RunConfig, Teach]:
    """The run that the flags of ``teach`` describe, and the flags."""
    base, asked = _asked(args, lambda base: _ask(Teach, args, base, _defaults(base), prog="tutelage teach"))
    return _filled(base, asked, None, None), asked


def distilled(args: Sequence[str], *, prog: str = "tutelage distill") -> tuple[RunConfig, Any]:
    """The run that the flags of ``distill`` describe, and the flags; those of the chosen method are among them.

    Args:
        args: The words after the command.
        prog: The command, for its help.

    Raises:
        ConfigError: if there is no teacher, or one for a method that learns without.
    """
    base, asked = _asked(args, lambda base: _ask_distill(args, base, prog))
    method = getattr(asked, asked.method)
    return _filled(base, asked, method, _teacher(args, base, asked, method)), asked


def _teacher(args: Sequence[str], base: RunConfig, asked: Any, method: MethodConfig) -> TeacherConfig | None:
    """What the flags say of the teacher; None where nothing is taught by one."""
    methods = [*(stage.method for stage in base.stages[:-1] if stage.method), method]
    if not any(map(is_taught, methods)):  # base may have one: that was not asked for
        if unused := [word for word in args if word.startswith("--teacher")]:
            raise ConfigError(f"{asked.method} learns without a teacher, as it is set: leave out {unused[0]}")
        return None
    if asked.teacher is None:
        raise ConfigError(
            "a teacher is needed: --teacher RUN, made by `tutelage teach`, a .safetensors file, or what else answered"
        )
    return replace(teacher_of(asked), allow_bad=asked.allow_bad_teacher, answers=asked.answers)


def teacher_of(asked: Any) -> TeacherConfig:
    """The teacher that flags name, whatever is to become of its answers."""
    return TeacherConfig(
        weights=asked.teacher,
        gives=asked.teacher_gives,
        taps=taps_by_role(asked.teacher_taps),
        batch_size=asked.teacher_batch_size,
        http=asked.http,
    )


def _ask_distill(args: Sequence[str], base: RunConfig, prog: str) -> Any:
    known = base.teacher or TeacherConfig(weights="")
    given = _glimpse(args).method or (base.method.name if base.method else "kd")
    if given not in METHODS:
        raise UnknownNameError("method", given, METHODS, hint="`tutelage list methods` shows them")
    settings: Any = base.method if base.method and base.method.name == given else METHODS[given]()
    defaults = _defaults(base) | {
        "teacher": known.weights or None,
        "teacher_gives": known.gives,
        "teacher_taps": tuple(f"{role}={path}" for role, path in known.taps.items()),
        "teacher_batch_size": known.batch_size,
        "allow_bad_teacher": known.allow_bad,
        "peers": tuple(peer.model for peer in base.peers),
        "answers": known.answers,
        "http": known.http,
        "method": given,
    }
    return _ask(Distill, args, base, defaults, (given, METHODS[given], settings), prog=prog)


def _ask(
    kind: type[Teach],
    args: Sequence[str],
    base: RunConfig,
    defaults: Mapping[str, Any],
    *extra: tuple[str, type[Any], Any],
    prog: str,
) -> Any:
    """Read the flags; those of the protocol, and of what else was chosen, are added to those of the command."""
    given = _glimpse(args).protocol or (base.data.protocol.name if base.data.protocol else None)
    if given is not None:
        if given not in PROTOCOLS:
            raise UnknownNameError("protocol", given, PROTOCOLS, hint="`tutelage list protocols` shows them")
        settings: Any = base.data.protocol
        settings = settings if settings and settings.name == given else PROTOCOLS[given]()
        extra = (*extra, (_field(given), PROTOCOLS[given], settings))
    whole = make_dataclass(kind.__name__, extra, bases=(kind,), frozen=True, kw_only=True)
    whole.__doc__ = kind.__doc__
    start = whole(**defaults, protocol=given)
    return tyro.cli(whole, args=args, default=start, prog=prog)


def _field(protocol: str) -> str:
    return protocol.replace("-", "_")


def _glimpse(args: Sequence[str]) -> argparse.Namespace:
    """What must be known before the flags can be listed."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe")
    early.add_argument("--method")
    early.add_argument("--protocol")
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
        "mix": stage.mix.kind if stage.mix else None,
        "mix_alpha": stage.mix.alpha if stage.mix else 1.0,
        "workers": base.data.workers,
        "optimizer": stage.optimizer,
        "schedule": stage.schedule,
        "engine": base.engine,
    }


def _filled(base: RunConfig, asked: Teach, method: MethodConfig | None, teacher: TeacherConfig | None) -> RunConfig:
    """The base with what was asked for in its place."""
    name = base.data.name if asked.data.endswith(".json") else asked.data
    data = replace(
        base.data,
        name=name,
        size=asked.size,
        validation=asked.validation,
        protocol=getattr(asked, _field(asked.protocol)) if asked.protocol else None,
        batch_size=asked.batch_size,
        images_per_class=asked.images_per_class,
        workers=asked.workers,
    )
    stage = replace(
        base.stages[-1],
        epochs=asked.epochs,
        method=method,
        mix=Mixing(kind=asked.mix, alpha=asked.mix_alpha) if asked.mix else None,
        optimizer=asked.optimizer,
        schedule=asked.schedule,
    )
    student = StudentConfig(model=asked.model, pretrained=asked.pretrained, taps=taps_by_role(asked.taps))
    peers = tuple(StudentConfig(model=model) for model in getattr(asked, "peers", ()))
    return RunConfig(
        data=data,
        student=student,
        teacher=teacher,
        peers=peers or ((student,) if learns_from_peers(method) else ()),
        stages=(*base.stages[:-1], stage),
        engine=asked.engine,
        seed=asked.seed,
    )
