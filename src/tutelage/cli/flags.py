"""The flags of ``tutelage teach`` and ``distill``, and the run that they describe.

Every option is a field of a config dataclass. The recipe, the method and the protocol are looked up before the flags
are read, so that ``--help`` shows the defaults and the options that really apply.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from tutelage.cli.method_flags import method_asked, method_flags
from tutelage.cli.options import Distill, Teach
from tutelage.cli.paradigms import in_paradigm, peers_of
from tutelage.cli.words import taps_by_role
from tutelage.data import Mixing
from tutelage.data.protocols import PROTOCOLS, CrossTask, Incremental
from tutelage.engine import (
    RunConfig,
    StudentConfig,
    TeacherConfig,
    from_json,
    staged,
)
from tutelage.engine.staging import without_phases
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import MethodConfig, is_taught, learns_from_peers
from tutelage.recipes import recipe_for
from tutelage.rundir import RunDir

__all__ = ["distilled", "taught", "teacher_of"]


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
    method = method_asked(asked)
    if asked.paradigm is not None:
        method, teacher = in_paradigm(asked.paradigm, method, asked.teacher)
        asked = replace(asked, teacher=teacher)
    return _filled(base, asked, method, _teacher(args, base, asked, method)), asked


def _teacher(args: Sequence[str], base: RunConfig, asked: Any, method: MethodConfig) -> TeacherConfig | None:
    """What the flags say of the teacher; None where nothing is taught by one."""
    methods = [*(stage.method for stage in without_phases(base.stages)[:-1] if stage.method), method]
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
        classes=getattr(asked, "teacher_classes", None),
        shared_only=getattr(asked, "shared_only", False),
        taps=taps_by_role(asked.teacher_taps),
        batch_size=asked.teacher_batch_size,
        http=asked.http,
    )


def _ask_distill(args: Sequence[str], base: RunConfig, prog: str) -> Any:
    known = base.teacher or TeacherConfig(weights="")
    given = _glimpse(args).method or (base.method.name if base.method else "kd")
    defaults = _defaults(base) | {
        "teacher": known.weights or None,
        "teacher_gives": known.gives,
        "teacher_classes": known.classes,
        "shared_only": known.shared_only,
        "teacher_taps": tuple(f"{role}={path}" for role, path in known.taps.items()),
        "teacher_batch_size": known.batch_size,
        "allow_bad_teacher": known.allow_bad,
        "peers": tuple(peer.model for peer in base.peers),
        "answers": known.answers,
        "http": known.http,
        "method": given,
    }
    return _ask(Distill, args, base, defaults, *method_flags(given, base.method), prog=prog)


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
        args = _spelled_out(args, kind, given)
    whole = make_dataclass(kind.__name__, extra, bases=(kind,), frozen=True, kw_only=True)
    whole.__doc__ = kind.__doc__
    start = whole(**defaults, protocol=given)
    return tyro.cli(whole, args=args, default=start, prog=prog)


def _spelled_out(args: Sequence[str], command: type[Any], protocol: str) -> list[str]:
    """Settings of a protocol may be written without its name where the command has none of that name: ``--overlap``.

    With a protocol of classes ``--validation`` is the protocol's too, whose share is what the command says of others.
    """
    own = {entry.name for entry in fields(PROTOCOLS[protocol])} - {entry.name for entry in fields(command)}
    own |= {"validation"} if issubclass(PROTOCOLS[protocol], CrossTask | Incremental) else set()
    short = {f"--{name.replace('_', '-')}": f"--{protocol}.{name.replace('_', '-')}" for name in own}

    def long(word: str) -> str:
        name, equals, value = word.partition("=")
        return f"{short.get(name, name)}{equals}{value}" if word.startswith("--") else word

    return [long(word) for word in args]


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
    lists = {number + 1 for number, word in enumerate(rest) if word.startswith("--") and word.endswith(_LISTS)}
    named = (word for number, word in enumerate(rest) if number not in lists and not word.startswith("--"))
    known.data = next((word for word in named if word.endswith(".json")), first)
    return known


_LISTS = ("classes", "order")
"""How options end that take a file of class names: it may be a .json, and is not the config.json of a run."""


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
        "classes": base.data.classes,
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
        classes=asked.classes,
        workers=asked.workers,
    )
    *before, stage = without_phases(base.stages)
    stage = replace(
        stage,
        epochs=asked.epochs,
        mix=Mixing(kind=asked.mix, alpha=asked.mix_alpha) if asked.mix else None,
        optimizer=asked.optimizer,
        schedule=asked.schedule,
    )
    student = StudentConfig(model=asked.model, pretrained=asked.pretrained, taps=taps_by_role(asked.taps))
    peers = peers_of(getattr(asked, "peers", ()), student)
    return RunConfig(
        data=data,
        student=student,
        teacher=teacher,
        peers=peers or ((student,) if learns_from_peers(method) else ()),
        stages=(*before, *staged(stage, method)),
        engine=asked.engine,
        seed=asked.seed,
    )
