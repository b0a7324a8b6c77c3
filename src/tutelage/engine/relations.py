"""``relations.json`` of a finished run: how its student sees samples relate, and how its teacher does.

All of it waits for the accelerator: it is measured once, of a finished run, when nothing trains.

Letters: n samples, d features, c classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tutelage.data import Dataset
from tutelage.engine.codec import from_json
from tutelage.engine.config import EngineConfig, RunConfig
from tutelage.engine.evaluation import evaluate, evaluate_ncm
from tutelage.engine.opening import open_teacher
from tutelage.engine.relation_channels import Place, channel_facts, heat_maps, place_of
from tutelage.engine.relation_figures import (
    BINS,
    agreement,
    calibration_error,
    class_purity,
    nearest_samples,
    neighbour_overlap,
)
from tutelage.engine.relation_noise import DRAWS, NOISE, check_levels, under_noise
from tutelage.engine.relation_pictures import chosen_samples, in_context
from tutelage.engine.relation_samples import Samples, Seen, Shown, ask, draw_samples
from tutelage.engine.session import open_fabric
from tutelage.engine.task import open_task
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError, DataError, RunError
from tutelage.labels import LabelSpace
from tutelage.models import load_network
from tutelage.ops.judges import cluster_nmi, seen_auc
from tutelage.ops.similarity import correlation_gap, linear_cka
from tutelage.rundir import RunDir
from tutelage.teachers import LiveTeacher
from tutelage.types import Batch, Shapes

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["RELATIONS", "relate", "why_not_asked"]

RELATIONS = "relations.json"
FORMAT = "tutelage-relations/1"
SAMPLES = 10_000
"""All test images of CIFAR; of 50,000 photographs with 2,048 features the neighbours alone are 10^13 operations."""


def relate(
    path: Path,
    *,
    split: Shown = "test",
    samples: int = SAMPLES,
    k: int = 10,
    teacher: Path | None = None,
    noise: Sequence[float] = NOISE,
    engine: EngineConfig | None = None,
) -> dict[str, Any]:
    """Measure how samples relate for the student of a finished run and its teacher, and keep it in the run.

    The student has its last weights. Both see un-augmented images. A teacher is asked only where it is a stored
    network whose calls cost nothing; without one there are figures of the student alone. Features are the embedding,
    flattened; the logits where a network has none. Nearest class means are those of all training images.

    Args:
        path: The run.
        split: Which images.
        samples: The most of them; a larger split is sampled, alike for every run.
        k: Neighbours of a sample.
        teacher: A stored network to compare with instead of the run's own, for a student that had none.
        noise: Levels of noise on the student's weights, under which its accuracy is measured; empty for none.
        engine: Where and how; by default in single precision, since bfloat16 cannot tell neighbours apart.

    Returns:
        What ``relations.json`` then holds.

    Raises:
        RunError: if the run is not finished.
        ConfigError: if a setting is out of range, or the named teacher is one whose calls cost.
        DataError: if the teacher is missing, or not any more the network that taught.
        InputError: if a network answers with numbers that are not finite.
    """
    check_levels(noise)
    run = _finished(path)
    config, result = from_json(run.read_json("config.json")), run.read_json("result.json")
    fabric = open_fabric(replace(engine or EngineConfig(precision="32"), devices=1))
    task = open_task(config)
    data, drawn = task.data, draw_samples(task, fabric, split, samples)
    if not 1 <= k < len(drawn.ids):
        raise ConfigError(f"k must be from 1 to {len(drawn.ids) - 1}, one below the number of samples, got {k}")
    student = LiveTeacher(load_network(run.student).to(fabric.device), autocast=fabric.autocast)
    source, left_out = _teacher(config, result, data, fabric, instead=teacher)
    place = place_of(config.method, student.shapes, _partner(run, config, source if teacher is None else None))
    ours = ask(student, drawn, place.role)
    about, near = _about(student, ours, drawn, k)
    found = {"format": FORMAT, "data": data.name, "split": split, "samples": len(drawn.ids), "k": k, "bins": BINS}
    found |= {"student": about, "teacher": None, "teacher_left_out": left_out, "figures": None}
    theirs: Seen | None = None
    if source is not None:
        theirs = ask(source, drawn, place.role)
        of_teacher, near_teacher = _about(source, theirs, drawn, k)
        overlap = neighbour_overlap(near, near_teacher)
        same = data.labels.relation(source.labels) == "same"
        found["teacher"] = of_teacher | {"fingerprint": source.network.fingerprint()}
        doubt = _seen_auc(theirs, drawn, source.labels)
        found["figures"] = {"overlap": overlap, **_figures(ours, theirs, same), "seen_auc": doubt}
    found["pictures"] = _pictures(drawn, ours, theirs, heat=lambda rows: _heat(drawn, rows, student, source, place))
    found["channels"] = channel_facts(place, student=ours.active, teacher=None if theirs is None else theirs.active)
    found["noise"] = _under_noise(student, drawn, noise)
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


def _partner(run: RunDir, config: RunConfig, source: LiveTeacher | None) -> Shapes | None:
    """What the one hands out that the student learnt from; None where that may not be looked at."""
    peer = run.path / "peer1.safetensors"
    return source.shapes if source is not None else load_network(peer).shapes if config.peers else None


def _about(source: LiveTeacher, seen: Seen, drawn: Samples, k: int) -> tuple[dict[str, Any], Tensor]:
    """Figures of one network, and the neighbours that it sees."""
    near = nearest_samples(seen.features, k)
    known = drawn.classes.relation(source.labels) == "same"
    return {
        "model": source.network.card.model,
        "features": seen.role,
        "accuracy": (seen.logits.argmax(1) == drawn.labels).double().mean().item() if known else None,
        "ece": calibration_error(seen.logits, drawn.labels) if known else None,
        "purity": class_purity(near, drawn.labels),
        "ncm": _class_means(source, drawn) if seen.role == "embedding" else None,
        "nmi": cluster_nmi(seen.features, drawn.labels),
    }, near


def _class_means(source: LiveTeacher, drawn: Samples) -> float:
    """Accuracy of the nearest mean of the training images: a teacher of other classes has one, though no accuracy."""
    source.listen(["embedding"])

    def embed(batch: Batch) -> Tensor:
        return source(batch).taps["embedding"]

    training = drawn.judge.batches("train", drawn.judge.ids["train"])
    judged = drawn.judge.batches(drawn.split, drawn.ids)
    return evaluate_ncm(embed, training, judged, num_classes=len(drawn.classes))


def _figures(ours: Seen, theirs: Seen, same: bool) -> dict[str, Any]:
    """Figures of both; other classes cannot agree."""
    return {
        "cka_features": linear_cka(ours.features, theirs.features).item(),
        "cka_logits": linear_cka(ours.logits, theirs.logits).item(),
        "agreement": agreement(ours.logits, theirs.logits) if same else None,
        "correlation_gap": correlation_gap(ours.logits, theirs.logits).double().mean().item(),
    }


def _seen_auc(theirs: Seen, drawn: Samples, known: LabelSpace) -> float | None:
    """How well the teacher's doubt tells the classes it knows from others; None where it knows all or none of them."""
    shared = torch.tensor([name in known.names for name in drawn.classes.names])
    seen = shared[drawn.labels]
    return seen_auc(theirs.logits, seen) if 0 < int(seen.sum()) < len(seen) else None


def _heat(
    drawn: Samples, rows: Tensor, student: LiveTeacher, teacher: LiveTeacher | None, place: Place
) -> list[list[dict[str, str]]]:
    """For each of some samples, pictures of where the channels answer: in halves where the student's are split."""
    found: list[list[dict[str, str]]] = [[] for _ in rows]
    for name, source, split in (("student", student, place.split), ("teacher", teacher, None)):
        if source is None or place.role is None or len(source.shapes.get(place.role, ())) != 3:
            continue  # a vector has no places, and tokens have none that can be drawn
        source.listen([place.role])
        maps = heat_maps(source(drawn.show(rows)).taps[place.role].cpu(), split, name)
        found = [before + more for before, more in zip(found, maps, strict=True)]
    return found


def _under_noise(student: LiveTeacher, drawn: Samples, noise: Sequence[float]) -> dict[str, Any] | None:
    """Accuracy under noise on the weights."""
    if not noise:
        return None
    student.listen(())

    def accuracy() -> float:
        return evaluate(student, drawn.judge.batches(drawn.split, drawn.ids)).accuracy

    return {"draws": DRAWS, "levels": under_noise(student.network, accuracy, noise)}


def _pictures(
    drawn: Samples, ours: Seen, theirs: Seen | None, *, heat: Callable[[Tensor], list[list[dict[str, str]]]]
) -> dict[str, Any]:
    """A few samples and what is near them, by the teacher's features where there are any."""
    named, names = ours.logits.argmax(1), drawn.classes.names
    chosen = chosen_samples(named == drawn.labels)
    by, beside = (ours.features, None) if theirs is None else (theirs.features, ours.features)
    shown = in_context(by, beside, drawn.labels, chosen, drawn.show, names)
    said = [names[number] for number in named[chosen].tolist()]
    told = zip(shown, said, heat(chosen), strict=True)
    samples = [sample | {"student_says": name, "heat": maps} for sample, name, maps in told]
    return {"by": "student" if theirs is None else "teacher", "samples": samples}


def _without_nan(content: Any) -> Any:
    """The same for JSON, which has no NaN: a figure that is not defined is null."""
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
