"""The table of a group, as texts: what the page and the Markdown both show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tutelage.report.groups import Group, Row
from tutelage.report.published import published, published_teacher
from tutelage.report.results import ALONE, TeacherFacts
from tutelage.report.statistics import Estimate
from tutelage.report.wording import NOTHING, counted, decimals, number, percent, signed, with_interval

__all__ = ["COLUMNS", "JUDGES", "Cell", "Line", "Table", "gain_cell", "group_title", "table_of", "told_cell"]

COLUMNS: Mapping[str, str] = {
    "last": "Test, last epoch (%)",
    "published": "Published (%)",
    "n": "n",
    "spread": "Spread",
    "best": "Test, best epoch (%)",
    "over_alone": "Over alone",
    "over_kd": "Over KD",
    "old": "Old classes (%)",
    "new": "New classes (%)",
    "harmonic": "Harmonic mean (%)",
    "ncm": "NCM of the embedding (%)",
    "epochs": "Epochs",
    "parameters": "Parameters",
    "speed": "Images/s",
    "calls": "Teacher calls",
    "answers": "Answers used",
    "unanswered": "Without answer",
    "cost": "Cost",
    "seconds": "Seconds",
    "memory": "Memory (MiB)",
}
"""The columns after the name of the row; one without any value is left out, and so are epochs that all rows have."""

JUDGES = ("old", "new", "harmonic", "ncm")
"""The columns that only some protocols and stages have a figure for."""


class Cell(NamedTuple):
    """A text, for a gain whether its sign is called, and the number by which a column is sorted."""

    text: str
    call: Literal["", "better", "worse"] = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the table.

    Args:
        label: Its name.
        row: The runs behind it; None for the teacher.
        best: Whether it is called best.
        cells: By column.
    """

    label: str
    row: Row | None
    best: bool
    cells: Mapping[str, Cell]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A group as texts.

    Args:
        columns: Those with at least one value.
        lines: The teacher first, then the highest mean first.
        places: Decimals of the accuracies.
    """

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    places: int


def group_title(group: Group) -> str:
    """What a group compares.

    Example:
        >>> group_title(Group(data="digits", teacher="zoo:big", student="zoo:small", rows=()))
        'zoo:small taught by zoo:big on digits'
        >>> from tutelage.report.protocols import FewCalls
        >>> few = FewCalls(2000, 0.2, "ignore")
        >>> group_title(Group(data="digits", teacher="zoo:big", student="zoo:small", rows=(), protocol=few))
        'zoo:small taught by zoo:big on digits: 1,600 teacher calls (a subset of 2,000 images)'
    """
    taught = f" taught by {group.teacher}" if group.teacher else " without a teacher"
    title, protocol = f"{group.student}{taught} on {group.data}{_known(group)}", group.protocol
    if protocol is None:
        return title
    subset = f"a subset of {counted(protocol.subset_size, 'image')}"
    others = ", the others by label" if protocol.unused == "labels" else ""
    return (
        f"{title}: {counted(protocol.calls, 'teacher call')} ({subset}{others})"
        if group.teacher
        else (f"{title}: {subset}{others}")
    )


def _known(group: Group) -> str:
    """How many of the student's classes the teacher has, where it has not all of them."""
    shared = {teacher.shared for teacher in group.teachers}
    classes = {result.num_classes for row in group.rows for result in row.results}
    if len(shared) != 1 or len(classes) != 1:
        return ""
    known, every = shared.pop(), classes.pop()
    if known is None or known >= every:
        return ""
    return f", {known} of which the teacher knows" if known else ", none of which the teacher knows"


def table_of(group: Group) -> Table:
    """The numbers of a group.

    Example:
        >>> table_of(Group(data="digits", teacher="", student="s", rows=())).lines
        ()
    """
    gains = [row.gain_over(group.baseline(row, method)) for row in group.rows for method in (ALONE, "kd")]
    places = decimals([*(row.last for row in group.rows), *(gain for gain in gains if gain is not None)])
    lines = [*_teacher_lines(group, places), *(_line(row, group, places) for row in group.rows)]
    told = [key for key in COLUMNS if key != "epochs" or len(group.epochs) > 1]
    columns = [key for key in told if any(line.cells[key].text != NOTHING for line in lines)]
    return Table(columns=tuple(columns), lines=tuple(lines), places=places)


def _line(row: Row, group: Group, places: int) -> Line:
    cells = {
        "last": Cell(with_interval(row.last, places), value=row.last.mean),
        "published": _share(published(row, group)),
        "n": Cell(str(row.last.count), value=row.last.count),
        "spread": _share(row.last.spread, places),
        "best": Cell(with_interval(row.best, places), value=row.best.mean),
        "over_alone": gain_cell(row.gain_over(group.baseline(row, ALONE)), places),
        "over_kd": gain_cell(row.gain_over(group.baseline(row, "kd")), places),
        **{name: _judged(row.judged(name), places) for name in JUDGES},
        "epochs": _count(row.mean(lambda result: result.epochs)),
        "parameters": _count(row.mean(lambda result: result.parameters)),
        "speed": _count(row.mean(lambda result: result.images_per_second)),
        **_asking(row, group),
        "seconds": _count(row.mean(lambda result: result.seconds)),
        "memory": _count(memory / 2**20 if (memory := row.memory()) is not None else None),
    }
    return Line(label=row.label, row=row, best=row is group.winner, cells=cells)


def _share(value: float | None, places: int = 2) -> Cell:
    return Cell(percent(value, places), value=value)


def _judged(estimate: Estimate | None, places: int) -> Cell:
    return Cell(NOTHING) if estimate is None else Cell(with_interval(estimate, places), value=estimate.mean)


def _count(value: float | None) -> Cell:
    return Cell(number(value), value=value)


def _asking(row: Row, group: Group) -> dict[str, Cell]:
    """What was sent in these runs, what they learnt from whenever it was sent, and what it cost."""
    cells = dict.fromkeys(("calls", "answers", "unanswered", "cost"), Cell(NOTHING))
    teachers = [result.teacher for result in row.results if result.teacher is not None]
    if row.alone or not teachers:
        return cells

    def mean(value: Callable[[TeacherFacts], float]) -> float:
        return sum(map(value, teachers)) / len(teachers)

    cells["calls"] = _count(round(mean(lambda teacher: teacher.calls)))
    if group.protocol is not None and row.asks_all:
        cells["answers"] = _count(group.protocol.calls)
    if skipped := mean(lambda teacher: teacher.skipped):
        cells["unanswered"] = _count(round(skipped))
    cost = mean(lambda teacher: teacher.cost or 0.0)
    if cost or "teacher.answers.price_per_call" in row.settings:
        cells["cost"] = _count(cost)
    return cells


def gain_cell(gain: Estimate | None, places: int) -> Cell:
    """A difference in points, marked if its interval excludes 0.

    Example:
        >>> gain_cell(Estimate(0.01, 0.005, 0.002, 3), 1).call, gain_cell(Estimate(0.01, 0.05, 0.02, 3), 1).call
        ('better', '')
    """
    if gain is None or not gain.excludes_zero:
        return Cell(signed(gain, places), value=gain.mean if gain is not None else None)
    return Cell(signed(gain, places), "better" if gain.mean > 0 else "worse", gain.mean)


def told_cell(cell: Cell) -> str:
    """A cell as text, its call as a sign.

    Example:
        >>> told_cell(Cell("+1.0", "better"))
        '+1.0 ▲'
    """
    return cell.text + {"": "", "better": " ▲", "worse": " ▼"}[cell.call]


def _teacher_lines(group: Group, places: int) -> list[Line]:
    """A line for each teacher: several seeds of a study may each have their own."""
    lines = []
    for teacher in group.teachers:
        cells = dict.fromkeys(COLUMNS, Cell(NOTHING))
        cells["last"] = _share(teacher.test, places)
        cells["published"] = _share(published_teacher(group))
        cells["parameters"] = _count(teacher.parameters)
        name = f"teacher {teacher.fingerprint[:8]}" if len(group.teachers) > 1 else "teacher"
        lines.append(Line(label=name, row=None, best=False, cells=cells))
    return lines
