"""The tables of accuracy against teacher calls, as texts: what the page and the Markdown both show."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from tutelage.report.calls import CallsChart, CallsLine
from tutelage.report.findings import difference, unnamed
from tutelage.report.groups import Row
from tutelage.report.statistics import Estimate, estimate
from tutelage.report.table import Cell, gain_cell
from tutelage.report.wording import NOTHING, counted, decimals, joined, number, percent, with_interval

__all__ = ["CALLS_LEGEND", "CallsTable", "calls_finding", "calls_notes", "calls_tables", "calls_title"]

CALLS_LEGEND = (
    "± is half the width of the 95 % interval of the mean over seeds (Student’s t). Gains are in points, at the last "
    "epoch, paired by seed. ▲ ▼ mark what the interval carries: a gain that excludes 0, or a number of calls that "
    "excludes KD’s; nothing else is called. Each interval stands for itself: of twenty true differences of 0, about "
    "one is called by chance."
)

_SPACE = "\N{NO-BREAK SPACE}"


class CallsTable(NamedTuple):
    """A number for each method and number of calls.

    Attributes:
        title: What the numbers are.
        lines: The method, and a cell for each number of calls.
    """

    title: str
    lines: tuple[tuple[CallsLine, tuple[Cell, ...]], ...]


def calls_title(chart: CallsChart) -> str:
    """What is compared.

    Example:
        >>> from tutelage.report.groups import Group
        >>> from tutelage.report.protocols import FewCalls
        >>> group = Group(data="d", teacher="t", student="s", rows=(), protocol=FewCalls(20, 0.2, "labels"))
        >>> calls_title(CallsChart(groups=(group,), lines=()))
        's taught by t on d, images outside the subset by label'
    """
    group = chart.groups[0]
    others = group.protocol is not None and group.protocol.unused == "labels"
    outside = ", images outside the subset by label" if others else ""
    return f"{group.student} taught by {group.teacher} on {group.data}{outside}"


def calls_tables(chart: CallsChart) -> list[CallsTable]:
    """Accuracy, gain over KD and calls needed to equal KD; then the accuracy of the best epoch.

    Args:
        chart: With a line at least.

    Returns:
        Those with a value.
    """
    places = _places(chart)
    tables = [
        _table(chart, "Test accuracy, last epoch (%)", lambda line, n: _accuracy(chart, line, n, places, _last)),
        _table(chart, "Gain over KD (points)", lambda line, n: gain_cell(chart.gain(line, n), places)),
        _table(chart, "Calls needed to equal KD", lambda line, n: _needed_cell(chart, line, n)),
        _table(chart, "Test accuracy, best epoch (%)", lambda line, n: _accuracy(chart, line, n, places, _best)),
    ]
    return [table for table in tables if table.lines]


def calls_finding(chart: CallsChart) -> str:
    """How many of the gains over KD are called, and how many of the savings."""
    kd = chart.reference
    if kd is None:
        return "There are no runs of KD to compare with."
    gains = [gain for line in chart.lines for n in chart.sizes if (gain := chart.gain(line, n)) is not None]
    known = [gain for gain in gains if gain.half_width is not None]
    if not known:
        return "No gain over KD can be called: an interval needs two seeds in common with it." if gains else ""
    better = sum(gain.excludes_zero and gain.mean > 0 for gain in known)
    worse = sum(gain.excludes_zero and gain.mean < 0 for gain in known)
    said = [f"Of {counted(len(known), 'gain')} over KD, {better} can be called better and {worse} worse."]
    saved = [each for line in chart.lines for n in chart.sizes if (each := chart.saved(line, n)) is not None]
    known = [each for each in saved if each.half_width is not None]
    if known:
        fewer = sum(each.excludes_zero and each.mean > 0 for each in known)
        more = sum(each.excludes_zero and each.mean < 0 for each in known)
        said.append(
            f"The calls needed to equal KD are known for every seed in {counted(len(known), 'cell')}: {fewer} can be "
            f"called fewer than KD’s and {more} more."
        )
    return " ".join(said)


def calls_notes(chart: CallsChart) -> list[str]:
    """What has to be known to read the tables, as far as it applies."""
    notes = [*_about_kd(chart), *_about_needed(chart)]
    if untaught := [line for line in chart.lines if not line.taught]:
        who = "The student alone" if all(line.alone for line in untaught) else "A student without a teacher"
        notes.append(f"{who} asks nothing: it stands at the calls whose images it learnt from, by label.")
    known = [f"{percent(teacher.test, 2)} %" for teacher in chart.teachers if teacher.test is not None]
    if known:
        notes.append(f"Test accuracy of the teacher: {joined(known)}.")
    seeds = _most_seeds(chart)
    if any(row.last.count < seeds for line in chart.lines for row in line.rows.values()):
        notes.append(f"Cells with (n) are of so many seeds, all others of {seeds}.")
    return [*notes, *unnamed(chart.lines), *_differences(chart)]


def _about_kd(chart: CallsChart) -> list[str]:
    kd = chart.reference
    rows = sum(line.method == "kd" for line in chart.lines)
    if kd is None or rows < 2:
        return []
    if len(chart.candidates) < 2:
        return [f"KD is {kd.label}: of {rows} rows of KD, its settings outside the method are nearest to the others."]
    return [
        f"KD is {kd.label}: of {len(chart.candidates)} settings the one with the highest test accuracy over all "
        "numbers of calls, a choice that favours KD."
    ]


def _about_needed(chart: CallsChart) -> list[str]:
    if not any(chart.needed(line, n) for line in chart.lines for n in chart.sizes):
        return []
    return [
        "Calls needed: by seed, where the method’s curve, straight between its points, first reaches the accuracy that "
        "KD has with the calls of the column; a curve that goes up and down is thereby favoured. ≤: it is there with "
        "the fewest calls that were tried; >: not with the most. Where a seed is off an end, the cell holds the "
        "range over seeds, and nothing is called."
    ]


def _differences(chart: CallsChart) -> list[str]:
    """Of each line from KD, with the fewest calls for which there is a difference."""
    kd, notes = chart.reference, []
    for line in chart.lines:
        if kd is None or not line.differs_from(kd):
            continue
        pairs = [(row, kd.rows[calls]) for calls, row in line.rows.items() if calls in kd.rows]
        row, other = next((row, other) for row, other in pairs if row.differs_from(other))
        notes.append(difference(row, other, row.differs_from(other)))
    return notes


def _table(chart: CallsChart, title: str, cell: Callable[[CallsLine, int], Cell]) -> CallsTable:
    lines = [(line, tuple(cell(line, n) for n in chart.sizes)) for line in chart.lines]
    return CallsTable(title, tuple(line for line in lines if any(each.text != NOTHING for each in line[1])))


def _last(row: Row) -> Mapping[int, float]:
    return row.by_seed()


def _best(row: Row) -> Mapping[int, float]:
    return row.by_seed(lambda result: result.best.test)


def _accuracy(
    chart: CallsChart, line: CallsLine, n: int, places: int, value: Callable[[Row], Mapping[int, float]]
) -> Cell:
    if n not in line.rows:
        return Cell(NOTHING)
    mean = estimate(list(value(line.rows[n]).values()))
    fewer = f"{_SPACE}({mean.count})" if mean.count < _most_seeds(chart) else ""
    return Cell(with_interval(mean, places) + fewer)


def _most_seeds(chart: CallsChart) -> int:
    return max(row.last.count for line in chart.lines for row in line.rows.values())


def _places(chart: CallsChart) -> int:
    rows = [row for line in chart.lines for row in line.rows.values()]
    gains = [chart.gain(line, n) for line in chart.lines for n in chart.sizes]
    return decimals([*(row.last for row in rows), *(gain for gain in gains if gain is not None)])


def _needed_cell(chart: CallsChart, line: CallsLine, n: int) -> Cell:
    needed = chart.needed(line, n)
    if not needed:
        return Cell(NOTHING)
    saved = chart.saved(line, n)
    if saved is None:
        ends = min(line.rows), max(line.rows)
        told = dict.fromkeys(_told(value, *ends) for value in sorted(needed.values()))
        return Cell(f"{_SPACE}to{_SPACE}".join(dict.fromkeys([next(iter(told)), next(reversed(told))])))
    text = _whole(n - saved.mean)
    if saved.half_width is not None:
        text += f"{_SPACE}±{_SPACE}{_whole(saved.half_width)}"
    return Cell(text, _call(saved))


def _call(saved: Estimate) -> Literal["", "better", "worse"]:
    if not saved.excludes_zero:
        return ""
    return "better" if saved.mean > 0 else "worse"


def _told(value: float, first: int, last: int) -> str:
    if math.isinf(value):
        return f"≤{_SPACE}{number(first)}" if value < 0 else f">{_SPACE}{number(last)}"
    return _whole(value)


def _whole(value: float) -> str:
    return number(round(value))
