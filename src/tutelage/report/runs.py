"""Run directories, read: what was asked for, what was measured, what came out."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tutelage.errors import DataError
from tutelage.report.fields import Fields, read_json, read_lines
from tutelage.report.relations import Relations, relations_of
from tutelage.report.results import Result, result_of

__all__ = ["Measured", "Run", "Terms", "load_runs"]

_CONFIG_FORMAT = "tutelage-run/"


class Measured(NamedTuple):
    """One validation: the accuracy is a fraction, NaN where it was not a number; ``figures`` are what was watched."""

    stage: str
    epoch: float
    accuracy: float
    figures: Mapping[str, float] = MappingProxyType({})


class Terms(NamedTuple):
    """Value × weight of each summand of the objective at one moment of training; what never weighs is left out."""

    stage: str
    epoch: float
    sizes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run directory.

    Args:
        name: Its path below the directory that was searched, with the name of that directory.
        config: What ``config.json`` says; empty if the file is missing.
        result: None while the run is unfinished, and where it diverged.
        validations: In the order of writing.
        terms: In the order of writing.
        relations: How samples relate, where `tutelage relate` measured it.
        diverged: Why there will be no result: empty unless the loss was no longer finite.
    """

    name: str
    config: Mapping[str, Any]
    result: Result | None
    validations: Sequence[Measured] = ()
    terms: Sequence[Terms] = ()
    relations: Relations | None = None
    diverged: str = ""

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
        The runs, sorted by name; those that are unfinished or diverged have no result.

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
    result = result_of(read_json(result_file)) if result_file.is_file() else None
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
            Measured(line.text("stage"), line.number("epoch"), line.measurement("accuracy"), _figures(line))
            for line in lines
            if line.text("kind") == "validation" and "ncm" not in line.content  # that judge has another figure
        ],
        terms=_terms([line for line in lines if line.text("kind") == "train" and line.has("terms")]),
        relations=_relations(directory),
        diverged=_divergence(directory) if result is None else "",
    )


def _figures(line: Fields) -> dict[str, float]:
    figures = line.child("figures") if line.has("figures") else None
    return {name: figures.measurement(name) for name in figures.content} if figures is not None else {}


def _divergence(directory: Path) -> str:
    file = directory / "diverged.json"
    return read_json(file).text("why") if file.is_file() else ""


def _relations(directory: Path) -> Relations | None:
    file = directory / "relations.json"
    return relations_of(read_json(file)) if file.is_file() else None


def _terms(lines: Sequence[Fields]) -> list[Terms]:
    """The sizes of the terms; what has no weight in a whole stage is a count, or switched off, and has no size."""
    found = [(line.text("stage"), line.number("epoch"), line.child("terms")) for line in lines]
    weights = {(stage, name) for stage, _, terms in found for name in terms.content if _weight(terms, name) != 0}

    def sizes(stage: str, terms: Fields) -> dict[str, float]:
        names = [name for name in terms.content if (stage, name) in weights]
        return {name: terms.child(name).measurement("value") * _weight(terms, name) for name in names}

    return [Terms(stage, epoch, sizes(stage, terms)) for stage, epoch, terms in found]


def _weight(terms: Fields, name: str) -> float:
    return terms.child(name).measurement("weight")
