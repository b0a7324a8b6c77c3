"""``relations.json`` of a finished run: how its student sees samples relate, and how its teacher does.

Letters: n samples, d features, c classes.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from tutelage.data import Dataset
from tutelage.engine.codec import from_json
from tutelage.engine.config import EngineConfig, RunConfig
from tutelage.engine.evaluation import Judge
from tutelage.engine.opening import open_teacher
from tutelage.engine.relation_figures import (
    BINS,
    agreement,
    calibration_error,
    class_purity,
    nearest_samples,
    neighbour_overlap,
)
from tutelage.engine.relation_pictures import chosen_samples, in_context
from tutelage.engine.session import open_fabric
from tutelage.engine.task import Task, open_task
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError, DataError, InputError, RunError
from tutelage.labels import LabelSpace
from tutelage.models import load_network
from tutelage.ops.similarity import correlation_gap, linear_cka
from tutelage.rundir import RunDir
from tutelage.teachers import LiveTeacher
from tutelage.types import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["RELATIONS", "relate", "why_not_asked"]

RELATIONS = "relations.json"
FORMAT = "tutelage-relations/1"
SAMPLES = 10_000
"""All test images of CIFAR; of 50,000 photographs with 2,048 features the neighbours alone are 10^13 operations."""


Shown = Literal["validation", "test"]

LEAST = 4
"""What the unbiased estimate of CKA needs."""


class _Samples(NamedTuple):
    """The samples in question: ids ``(n,)`` of a split, their labels ``(n,)`` and the names of these."""

    judge: Judge
    split: Shown
    ids: Tensor
    labels: Tensor
    classes: LabelSpace

    def show(self, rows: Tensor) -> Batch:
        """Some of them, un-augmented."""
        return next(iter(self.judge.batches(self.split, self.ids[rows])))


class _Seen(NamedTuple):
    """What a network says of the samples: features ``(n, d)`` of a role, and logits ``(n, c)``."""

    role: str
    features: Tensor
    logits: Tensor


def relate(
    path: Path,
    *,
    split: Shown = "test",
    samples: int = SAMPLES,
    k: int = 10,
    teacher: Path | None = None,
    engine: EngineConfig | None = None,
) -> dict[str, Any]:
    """Measure how samples relate for the student of a finished run and its teacher, and keep it in the run.

    The student has its last weights. Both see un-augmented images. A teacher is asked only where it is a stored
    network whose calls cost nothing; without one there are figures of the student alone. Features are the embedding,
    flattened; the logits where a network has none.

    Args:
        path: The run.
        split: Which images.
        samples: The most of them; a larger split is sampled, alike for every run.
        k: Neighbours of a sample.
        teacher: A stored network to compare with instead of the run's own, for a student that had none.
        engine: Where and how; by default in single precision, since bfloat16 cannot tell neighbours apart.

    Returns:
        What ``relations.json`` then holds.

    Raises:
        RunError: if the run is not finished.
        ConfigError: if a setting is out of range, or the named teacher is one whose calls cost.
        DataError: if the teacher is missing, or not any more the network that taught.
        InputError: if a network answers with numbers that are not finite.
    """
    run = _finished(path)
    config, result = from_json(run.read_json("config.json")), run.read_json("result.json")
    fabric = open_fabric(replace(engine or EngineConfig(precision="32"), devices=1))
    task = open_task(config)
    data, drawn = task.data, _drawn(task, fabric, split, samples)
    if not 1 <= k < len(drawn.ids):
        raise ConfigError(f"k must be from 1 to {len(drawn.ids) - 1}, one below the number of samples, got {k}")
    student = LiveTeacher(load_network(run.student).to(fabric.device), autocast=fabric.autocast)
    source, left_out = _teacher(config, result, data, fabric, instead=teacher)
    ours = _ask(student, drawn)
    about, near = _about(student, ours, drawn, k)
    found = {"format": FORMAT, "data": data.name, "split": split, "samples": len(drawn.ids), "k": k, "bins": BINS}
    found |= {"student": about, "teacher": None, "teacher_left_out": left_out, "figures": None}
    if source is None:
        found["pictures"] = _pictures(drawn, ours, None)
    else:
        theirs = _ask(source, drawn)
        of_teacher, near_teacher = _about(source, theirs, drawn, k)
        overlap = neighbour_overlap(near, near_teacher)
        same = data.labels.relation(source.labels) == "same"
        found["teacher"] = of_teacher | {"fingerprint": source.network.fingerprint()}
        found["figures"] = {"overlap": overlap, **_figures(ours, theirs, same)}
        found["pictures"] = _pictures(drawn, ours, theirs)
    content: dict[str, Any] = _without_nan(found)
    run.write_json(RELATIONS, content)
    return content


def why_not_asked(teacher: TeacherConfig | None) -> str:
    """Why a run's own teacher is not asked; empty where it may be: it is a stored network, and its calls are free.

    Example:
        >>> why_not_asked(TeacherConfig(weights="runs/t")), why_not_asked(TeacherConfig(weights="python:a:b"))
        ('', 'its calls may cost: it is no stored network')
    """
    if teacher is None:
        return "the run had no teacher"
    if teacher.kind == "student":
        return "it was a copy of the student"
    if teacher.kind == "several":
        return "it was the mean of several networks"
    if teacher.kind != "network":
        return "its calls may cost: it is no stored network"
    return "its calls cost: it has a budget or a price" if teacher.costs else ""


def _finished(path: Path) -> RunDir:
    # Not RunDir.open, which clears away half-written files: a run that still goes on may be writing them.
    run = RunDir(path)
    if not run.finished:
        begun = (path / "config.json").is_file()
        raise RunError(
            f"relations are measured of a finished run, and {path} "
            f"{f'is not finished: go on with `tutelage resume {path}`' if begun else 'holds none: name a run'}"
        )
    return run


def _teacher(
    config: RunConfig, result: Mapping[str, Any], data: Dataset, fabric: "Fabric", *, instead: Path | None
) -> tuple[LiveTeacher | None, str]:
    """The network to compare with, or why there is none."""
    left_out = why_not_asked(config.teacher)
    if instead is None and left_out:
        return None, left_out
    own = config.teacher if instead is None else None
    # Nothing is cached or counted here: of what the config says of answers only the costs matter, and they are none.
    asked = own or TeacherConfig(weights=str(instead))
    weights = asked.weights
    source = None if why_not_asked(asked) else open_teacher(asked, data, fabric)
    if not isinstance(source, LiveTeacher):
        raise ConfigError(f"a teacher to compare with is a stored network, got {weights}: name a run or .safetensors")
    fingerprint = (result.get("teacher") or {}).get("fingerprint")
    if own is not None and source.network.fingerprint() != fingerprint:
        raise DataError(
            f"{weights} is not any more the network that taught this run: wanted {fingerprint}, got "
            f"{source.network.fingerprint()}; put that back, or name a network to compare with by --teacher"
        )
    if instead is not None and config.teacher and left_out and source.network.fingerprint() == fingerprint:
        raise ConfigError(f"{weights} taught this run, and {left_out}: leave out --teacher, or name another network")
    return source, ""


def _drawn(task: Task, fabric: "Fabric", split: Shown, samples: int) -> _Samples:
    """At most so many samples, at random (a folder holds one class after the other) and alike in every run."""
    if samples < LEAST:
        raise ConfigError(f"relations need at least {LEAST} samples, got {samples}: raise --samples")
    judge = Judge(task.data, fabric, task.division)
    ids, labels = judge.ids[split], judge.labels(split).cpu()
    if len(ids) < LEAST:
        raise ConfigError(f"relations need at least {LEAST} samples, and {split} has {len(ids)}: take another split")
    if len(ids) > samples:
        rows = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:samples].sort().values
        ids, labels = ids[rows], labels[rows]
    return _Samples(judge, split, ids, labels, task.data.labels)


def _ask(source: LiveTeacher, drawn: _Samples) -> _Seen:
    role = "embedding" if "embedding" in source.shapes else "logits"
    source.listen(() if role == "logits" else (role,))
    parts = [source(batch) for batch in drawn.judge.batches(drawn.split, drawn.ids)]
    logits = torch.cat([part.logits for part in parts]).float().cpu()
    features = logits if role == "logits" else torch.cat([part.taps[role] for part in parts]).flatten(1).float().cpu()
    if not bool(logits.isfinite().all() and features.isfinite().all()):
        raise InputError(f"{source.network.card.model} answers with numbers that are not finite: it has diverged")
    return _Seen(role, features, logits)


def _about(source: LiveTeacher, seen: _Seen, drawn: _Samples, k: int) -> tuple[dict[str, Any], Tensor]:
    """Figures of one network, and the neighbours that it sees."""
    near = nearest_samples(seen.features, k)
    known = drawn.classes.relation(source.labels) == "same"
    return {
        "model": source.network.card.model,
        "features": seen.role,
        "accuracy": (seen.logits.argmax(1) == drawn.labels).double().mean().item() if known else None,
        "ece": calibration_error(seen.logits, drawn.labels) if known else None,
        "purity": class_purity(near, drawn.labels),
    }, near


def _figures(ours: _Seen, theirs: _Seen, same: bool) -> dict[str, Any]:
    """Figures of both; other classes cannot agree."""
    return {
        "cka_features": linear_cka(ours.features, theirs.features).item(),
        "cka_logits": linear_cka(ours.logits, theirs.logits).item(),
        "agreement": agreement(ours.logits, theirs.logits) if same else None,
        "correlation_gap": correlation_gap(ours.logits, theirs.logits).double().mean().item(),
    }


def _pictures(drawn: _Samples, ours: _Seen, theirs: _Seen | None) -> dict[str, Any]:
    """A few samples and what is near them, by the teacher's features where there are any."""
    named, names = ours.logits.argmax(1), drawn.classes.names
    chosen = chosen_samples(named == drawn.labels)
    by, beside = (ours.features, None) if theirs is None else (theirs.features, ours.features)
    shown = in_context(by, beside, drawn.labels, chosen, drawn.show, names)
    said = [names[number] for number in named[chosen].tolist()]
    samples = [sample | {"student_says": name} for sample, name in zip(shown, said, strict=True)]
    return {"by": "student" if theirs is None else "teacher", "samples": samples}


def _without_nan(content: Any) -> Any:
    """The same for JSON, which has no NaN: a figure that is not defined is null."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
