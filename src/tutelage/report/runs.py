"""Run directories, read: what was asked for, what was measured, what came out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.errors import DataError
from tutelage.report.fields import Fields, read_json, read_lines
from tutelage.report.relations import Relations, relations_of

__all__ = ["ALONE", "Measured", "Result", "Run", "Score", "Terms", "load_runs"]

ALONE = "ce"
"""The method of a run by labels alone: cross-entropy."""

_CONFIG_FORMAT = "tutelage-run/"
_RESULT_FORMAT = "tutelage-result/1"


class Score(NamedTuple):
    """Accuracy at one epoch, as fractions."""

    epoch: float
    validation: float
    test: float


class Measured(NamedTuple):
    """One validation: the accuracy is a fraction, NaN where it was not a number."""

    stage: str
    epoch: float
    accuracy: float


class Terms(NamedTuple):
    """Value × weight of each summand of the objective at one moment of training."""

    stage: str
    epoch: float
    sizes: Mapping[str, float]


class TeacherFacts(NamedTuple):
    """What a result says of its teacher; what nobody measured or kept is None.

    ``calls`` counts the samples sent, ``skipped`` those that were trained without an answer.
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


@dataclass(frozen=True, kw_only=True)
class Result:
    """What ``result.json`` says.

    Args:
        data: Name of the data set, and which of its classes where they are not all.
        method: Name of the method; ``"ce"`` is the student alone.
        seed: Of the run.
        student: The student's model.
        parameters: Of the student.
        teacher: None if there was none.
        last: At the last epoch.
        best: At the epoch of the highest validation accuracy.
        seconds: Wall-clock time of the run.
        images_per_second: Of training.
        machine: What it ran on.
        facts: The rest, as texts: command, commit, precision, versions, times.
    """

    data: str
    method: str
    seed: int
    student: str
    parameters: int
    teacher: TeacherFacts | None
    last: Score
    best: Score
    seconds: float
    images_per_second: float
    machine: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run directory.

    Args:
        name: Its path below the directory that was searched, with the name of that directory.
        config: What ``config.json`` says; empty if the file is missing.
        result: None while the run is unfinished.
        validations: In the order of writing.
        terms: In the order of writing.
        relations: How samples relate, where `tutelage relate` measured it.
    """

    name: str
    config: Mapping[str, Any]
    result: Result | None
    validations: Sequence[Measured] = ()
    terms: Sequence[Terms] = ()
    relations: Relations | None = None

    @property
    def finished(self) -> bool:
        """Whether the run wrote its result."""
        return self.result is not None


def load_runs(path: Path | str | Sequence[Path | str]) -> list[Run]:
    """Read every run below a directory, finished or not.

    A run is a directory with a ``result.json``, a ``metrics.jsonl`` or the ``config.json`` of tutelage.

    Args:
        path: A directory, or several; a run that is found twice counts once.

    Returns:
        The runs, sorted by name; the unfinished ones have no result.

    Raises:
        DataError: if a directory is missing, a file is damaged, or there is no run at all.

    Example:
        >>> load_runs("no/such/directory")
        Traceback (most recent call last):
            ...
        tutelage.errors.DataError: expected a directory of runs at no/such/directory, found none
    """
    roots = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    found: dict[Path, str] = {}
    for root in roots:
        if not root.is_dir():
            raise DataError(f"expected a directory of runs at {root}, found {'a file' if root.exists() else 'none'}")
        whole = root.resolve()
        for directory in _directories(whole):
            found.setdefault(directory, (Path(whole.name) / directory.relative_to(whole)).as_posix())
    runs = [run for directory, name in found.items() if (run := _read(directory, name)) is not None]
    if not runs:
        where = ", ".join(map(str, roots)) or "an empty list of directories"
        raise DataError(f"no run below {where}: expected directories with a config.json or result.json of tutelage")
    return sorted(runs, key=lambda run: run.name)


def _directories(root: Path) -> Iterator[Path]:
    for directory, children, files in os.walk(root):
        children.sort()
        if not {"config.json", "metrics.jsonl", "result.json"}.isdisjoint(files):
            yield Path(directory)


def _read(directory: Path, name: str) -> Run | None:
    """The run in a directory, or None if the only file there is the ``config.json`` of something else."""
    config_file, metrics_file, result_file = (
        directory / file for file in ("config.json", "metrics.jsonl", "result.json")
    )
    config = read_json(config_file).content if config_file.is_file() else {}
    ours = str(config.get("format", "")).startswith(_CONFIG_FORMAT)
    result = _result(read_json(result_file)) if result_file.is_file() else None
    if result is None and not ours and not metrics_file.is_file():
        return None
    if config and not ours:
        raise Fields(str(config_file), config).refusal("format", f"{_CONFIG_FORMAT}1")
    lines = read_lines(metrics_file, whole=result is not None) if metrics_file.is_file() else []
    return Run(
        name=name,
        config=config,
        result=result,
        validations=[
            Measured(line.text("stage"), line.number("epoch"), line.measurement("accuracy"))
            for line in lines
            if line.text("kind") == "validation" and "ncm" not in line.content  # that judge has another figure
        ],
        terms=[_terms(line) for line in lines if line.text("kind") == "train" and line.has("terms")],
        relations=_relations(directory),
    )


def _relations(directory: Path) -> Relations | None:
    file = directory / "relations.json"
    return relations_of(read_json(file)) if file.is_file() else None


def _terms(line: Fields) -> Terms:
    terms = line.child("terms")
    sizes = {}
    for name in terms.content:
        term = terms.child(name)
        sizes[name] = term.measurement("value") * term.measurement("weight")
    return Terms(line.text("stage"), line.number("epoch"), sizes)


def _result(fields: Fields) -> Result:
    if fields.content.get("format") != _RESULT_FORMAT:
        raise fields.refusal("format", _RESULT_FORMAT)
    student = fields.child("student")
    return Result(
        data=fields.text("task") if fields.has("task") else fields.text("data"),
        method=fields.text("method") if fields.has("method") else ALONE,
        seed=fields.count("seed"),
        student=student.text("model"),
        parameters=student.count("parameters"),
        teacher=_teacher(fields.child("teacher")) if fields.has("teacher") else None,
        last=_score(fields.child("accuracy").child("last")),
        best=_score(fields.child("accuracy").child("best")),
        seconds=fields.number("seconds"),
        images_per_second=fields.number("images_per_second"),
        machine=_machine(fields.child("machine")),
        facts=_facts(fields),
    )


def _score(fields: Fields) -> Score:
    return Score(fields.number("epoch"), fields.fraction("validation"), fields.fraction("test"))


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
