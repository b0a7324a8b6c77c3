"""How each number was made: for every row its commands, commits, machines, versions, and its runs one by one."""

from collections.abc import Callable, Mapping
from typing import Any

from tutelage.report.groups import Group, Row
from tutelage.report.results import ALONE, Result
from tutelage.report.statistics import Estimate
from tutelage.report.wording import joined, number, percent, signed, with_interval

__all__ = ["sources_of"]

_FACTS: Mapping[str, Callable[[Result], str]] = {
    "Command": lambda result: result.facts.get("command") or "not recorded",
    "Commit": lambda result: (result.facts.get("commit") or "not recorded")[:18],  # twelve digits and -dirty
    "Machine": lambda result: result.machine,
    "Versions": lambda result: result.facts.get("versions", ""),
    "Precision": lambda result: result.facts.get("precision") or "not recorded",
    "Length": lambda result: result.facts.get("length", ""),
}


def sources_of(group: Group, places: int) -> list[dict[str, Any]]:
    """Of each row: its name, what it is, what its runs share or differ in, its tests, and its runs.

    Args:
        group: Rows of finished runs.
        places: Decimals of the accuracies.

    Example:
        >>> sources_of(Group(data="digits", teacher="", student="s", rows=()), 2)
        []
    """
    tests = {method: group.p_values_over(method) for method in (ALONE, "kd")}
    return [
        {
            "label": row.label,
            "told": with_interval(row.last, places),
            "facts": {name: _told(row, value) for name, value in _FACTS.items()},
            "tests": [
                _test(name, gain, tests[method].get(row.label), len(tests[method]), places)
                for name, method in (("student alone", ALONE), ("KD", "kd"))
                if (gain := group.gains_over(method).get(row.label)) is not None
            ],
            "runs": _runs(row, group, places),
        }
        for row in group.rows
    ]


def _told(row: Row, value: Callable[[Result], str]) -> list[tuple[str, str]]:
    """Each different value, and of which seeds it is where not all have the same."""
    found: dict[str, list[int]] = {}
    for result in row.results:
        found.setdefault(value(result), []).append(result.seed)
    every = len(found) == 1
    return [(text, "" if every else f"seed {joined([str(seed) for seed in seeds])}") for text, seeds in found.items()]


def _test(name: str, gain: Estimate, p_values: tuple[float, float] | None, count: int, places: int) -> str:
    said = f"Over {name}, paired by seed: {signed(gain, places)} points, n = {gain.count}"
    if p_values is None:
        return said
    p, adjusted = p_values
    together = f", {adjusted:.2g} after Holm’s correction for {count} comparisons" if count > 1 else ""
    return f"{said}, p = {p:.2g}{together}"


def _runs(row: Row, group: Group, places: int) -> list[tuple[str, ...]]:
    """Seed, accuracies, gain over the student alone with this seed, seconds, start, name."""
    alone = group.baseline(row, ALONE)
    before = alone.by_seed() if alone is not None else {}

    def gain(result: Result) -> str:
        known = before.get(result.seed)
        return signed(Estimate(result.last.test - known, None, None, 1) if known is not None else None, places)

    return [
        (
            str(result.seed),
            f"{percent(result.last.test, places)} (epoch {result.last.epoch:g})",
            f"{percent(result.best.test, places)} (epoch {result.best.epoch:g})",
            gain(result),
            number(result.seconds),
            result.facts.get("started", ""),
            run.name,
        )
        for run in row.runs
        if (result := run.result) is not None
    ]
