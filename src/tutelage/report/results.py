"""``result.json`` of a run, read: what came of it, and where its numbers are from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tutelage.report.fields import Fields

__all__ = ["ALONE", "Memory", "Result", "Score", "TeacherFacts", "result_of"]

ALONE = "ce"
"""The method of a run by labels alone: cross-entropy."""

_RESULT_FORMAT = "tutelage-result/1"


class Score(NamedTuple):
    """Accuracy at one epoch, as fractions."""

    epoch: float
    validation: float
    test: float


class Memory(NamedTuple):
    """The most that training took: ``"allocated"`` by torch, or ``"resident"``, what it added to its process."""

    bytes: int
    kind: str


class TeacherFacts(NamedTuple):
    """What a result says of its teacher; what nobody measured or kept is None.

    ``calls`` counts the samples sent, ``skipped`` those that were trained without an answer, ``shared`` the classes
    that both know.
    """

    model: str
    parameters: int | None
    fingerprint: str
    validation: float | None
    test: float | None
    calls: int
    cost: float | None = None
    budget: int | None = None
    skipped: int = 0
    shared: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What ``result.json`` says.

    Args:
        data: Name of the data set, and which of its classes where they are not all.
        method: Name of the method; ``"ce"`` is the student alone.
        seed: Of the run.
        student: The student's model.
        parameters: Of the student.
        num_classes: That the student tells apart.
        teacher: None if there was none.
        last: At the last epoch.
        best: At the epoch of the highest validation accuracy.
        epochs: Passes over the training images in all stages that trained the student.
        seconds: Wall-clock time of the run.
        images_per_second: Of training.
        machine: What it ran on.
        memory: Of training, at its peak; None where nobody measured it.
        classes: Test accuracy of each class at the last epoch; empty where nobody measured it.
        judges: Other figures by name, as fractions, where they were measured: ``old``, ``new`` and ``harmonic`` of an
            incremental step, on the test images at the last epoch; ``ncm``, the nearest class means of a stage that is
            judged by them, on validation at its best epoch.
        facts: The rest, as texts: command, commit, precision, versions, times.
    """

    data: str
    method: str
    seed: int
    student: str
    parameters: int
    num_classes: int
    teacher: TeacherFacts | None
    last: Score
    best: Score
    epochs: float
    seconds: float
    images_per_second: float
    machine: str = ""
    memory: Memory | None = None
    classes: Mapping[str, float] = field(default_factory=dict)
    judges: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def result_of(fields: Fields) -> Result:
    """Read the file.

    Args:
        fields: Of ``result.json``.

    Raises:
        DataError: if something is missing or of another kind.
    """
    if fields.content.get("format") != _RESULT_FORMAT:
        raise fields.refusal("format", _RESULT_FORMAT)
    student = fields.child("student")
    return Result(
        data=fields.text("task") if fields.has("task") else fields.text("data"),
        method=fields.text("method") if fields.has("method") else ALONE,
        seed=fields.count("seed"),
        student=student.text("model"),
        parameters=student.count("parameters"),
        num_classes=student.count("num_classes"),
        teacher=_teacher(fields.child("teacher")) if fields.has("teacher") else None,
        last=_score(fields.child("accuracy").child("last")),
        best=_score(fields.child("accuracy").child("best")),
        epochs=_epochs(fields),
        seconds=fields.number("seconds"),
        images_per_second=fields.number("images_per_second"),
        machine=_machine(fields.child("machine")),
        memory=_memory(fields.child("memory")) if fields.has("memory") else None,
        classes=_classes(fields.child("classes")) if fields.has("classes") else {},
        judges=_judges(fields),
        facts=_facts(fields),
    )


def _epochs(fields: Fields) -> float:
    stages = fields.children("stages") if fields.has("stages") else []
    own = [stage.number("epochs") for stage in stages if stage.has("trains") and stage.text("trains") == "student"]
    return sum(own) if own else fields.number("epochs")


def _score(fields: Fields) -> Score:
    return Score(fields.number("epoch"), fields.fraction("validation"), fields.fraction("test"))


def _memory(fields: Fields) -> Memory:
    return Memory(fields.count("bytes"), fields.text("kind"))


def _classes(fields: Fields) -> dict[str, float]:
    """Share of right answers by class; a class without images has none."""
    names, images, right = (fields.content.get(key) for key in ("names", "images", "right"))
    if not (isinstance(names, list) and isinstance(images, list) and isinstance(right, list)):
        raise fields.refusal("names", "lists of names, images and right answers")
    counts = [each for each in (*images, *right) if not isinstance(each, int) or each < 0]
    if counts or not len(names) == len(images) == len(right):
        raise fields.refusal("right", "as many whole numbers as names")
    if any(good > of for good, of in zip(right, images, strict=True)):
        raise fields.refusal("right", "at most as many as images")
    return {str(name): good / of for name, of, good in zip(names, images, right, strict=True) if of}


def _judges(fields: Fields) -> dict[str, float]:
    found = {}
    if fields.has("incremental"):
        last = fields.child("incremental").child("last")
        found = {name: last.fraction(name) for name in ("old", "new", "harmonic")}
    for stage in fields.children("stages") if fields.has("stages") else ():
        if stage.has("judge") and stage.text("judge") == "ncm":
            found["ncm"] = stage.child("best").fraction("validation")
    return found


def _teacher(fields: Fields) -> TeacherFacts:
    accuracy = fields.child("accuracy") if fields.has("accuracy") else None

    def measured(key: str) -> float | None:
        return accuracy.fraction(key) if accuracy is not None and accuracy.has(key) else None

    return TeacherFacts(
        model=fields.text("model"),
        parameters=fields.count("parameters") if fields.has("parameters") else None,
        fingerprint=fields.text("fingerprint"),
        validation=measured("validation"),
        test=measured("test"),
        calls=fields.count("calls"),
        cost=fields.number("cost") if fields.has("cost") else None,
        budget=fields.count("budget") if fields.has("budget") else None,
        skipped=fields.count("skipped") if fields.has("skipped") else 0,
        shared=fields.count("shared_classes") if fields.has("shared_classes") else None,
    )


def _machine(fields: Fields) -> str:
    parts = [fields.text("gpu")] if fields.has("gpu") else []
    parts.append(f"{fields.text('cpu')}, {fields.count('cores')} cores")
    if fields.has("threads"):
        threads = fields.count("threads")
        parts.append(f"{threads} thread" + ("" if threads == 1 else "s"))
    return ", ".join(parts)


def _facts(fields: Fields) -> dict[str, str]:
    facts = {key: fields.text(key) for key in ("command", "precision", "started", "finished")}
    facts["commit"] = fields.text("commit") if fields.has("commit") else ""
    versions = fields.child("versions")
    facts["versions"] = ", ".join(f"{name} {versions.text(name)}" for name in sorted(versions.content))
    facts["length"] = f"{fields.number('epochs'):g} epochs, {fields.count('steps'):,} steps"
    return facts
