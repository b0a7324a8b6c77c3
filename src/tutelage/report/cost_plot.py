"""The plot of accuracy against what it cost: a mark for each row, with its interval."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

from tutelage.report.chart import Frame, svg
from tutelage.report.groups import Group, Row
from tutelage.report.placing import Box, placed
from tutelage.report.plots import styles_of
from tutelage.report.wording import number, shortened, with_interval

__all__ = ["cost_plot"]

_LETTER = 6.6  # width
_MARK = 5.0
_CLEAR = 7.0  # round a mark


def cost_plot(group: Group, width: float, *, by: Literal["seconds", "calls"]) -> str:
    """Test accuracy at the last epoch by seconds of training or by teacher calls: means over seeds, 95 % intervals.

    Args:
        group: What to show.
        width: 860 for a page, 360 for a phone.
        by: The cost. Calls count what was sent in a run: of runs that share a cache, they say who was first.

    Returns:
        An SVG element; empty where all rows cost the same, or all that ask the teacher ask as often.

    Example:
        >>> cost_plot(Group(data="digits", teacher="", student="s", rows=()), 860.0, by="seconds")
        ''
    """
    costs = {row.label: row.mean(lambda result: result.seconds) for row in group.rows}
    if by == "calls":
        costs = {row.label: _calls(row) / 1000 for row in group.rows}
    if len(set(costs.values()) - ({0.0} if by == "calls" else set())) < 2:
        return ""
    frame, styles = _frame(group, costs, width), styles_of(group.rows)
    rows = sorted(group.rows, key=lambda row: not row.alone)  # what all are compared with is named first
    marks = {row.label: frame.place(costs[row.label], 100 * row.last.mean) for row in rows}
    drawn = [*_teachers(group, frame), *(_mark(row, frame, marks[row.label], styles[row.label]) for row in rows)]
    named = _names(rows, frame, marks, styles, most=34 if width > 500 else 18)
    unit = "seconds" if by == "seconds" else "thousand teacher calls"
    spoken = "; ".join(f"{row.label} {100 * row.last.mean:.1f} at {number(costs[row.label])}" for row in group.rows)
    title = f"Test accuracy in per cent by {unit}, mean over seeds: {spoken}."
    inner = f'<svg x="0" y="0" width="{width:g}" height="{frame.floor:g}">{"".join(drawn)}</svg>'
    return svg(width, frame.height, title, [frame.axes(unit, unit=" %"), inner, *named])


def _calls(row: Row) -> float:
    return row.mean(lambda result: result.teacher.calls if result.teacher is not None and not row.alone else 0)


def _frame(group: Group, costs: Mapping[str, float], width: float) -> Frame:
    """Around the means; intervals may leave it where they reach further than the means lie apart."""
    means = [100 * row.last.mean for row in group.rows]
    edges = [(mean, 100 * (row.last.half_width or 0.0)) for mean, row in zip(means, group.rows, strict=True)]
    reach = max(max(means) - min(means), 1.0)
    low = max(min(mean - half for mean, half in edges), min(means) - reach / 2)
    high = min(max(mean + half for mean, half in edges), max(means) + reach / 2)
    near = [100 * each.test for each in group.teachers if each.test is not None and 100 * each.test <= high + reach / 2]
    high = max([high, *near])
    margin = 0.06 * (high - low)
    least, most = min(costs.values()), max(costs.values())
    begin = 0.0 if least < most / 2 else least - 0.15 * (most - least)
    return Frame(
        width=width,
        height=340.0 if width < 500 else 400.0,
        right=16.0,
        x=(begin, most + 0.05 * (most - begin)),
        y=(max(low - margin, 0.0), min(high + margin, 100.0)),
    )


def _teachers(group: Group, frame: Frame) -> list[str]:
    known = {100 * each.test for each in group.teachers if each.test is not None}
    return [
        frame.line([(frame.x[0], test), (frame.x[1], test)], "teacher", f"teacher: {test:.2f} %")
        for test in sorted(known)
        if frame.y[0] <= test <= frame.y[1]
    ]


def _mark(row: Row, frame: Frame, at: tuple[float, float], style: str) -> str:
    (x, y), said = at, escape(f"{row.label}: {with_interval(row.last, 2)} %")
    parts = [f"<g><title>{said}</title>"]
    if row.last.half_width is not None:
        ends = (frame.place(0.0, 100 * (row.last.mean + sign * row.last.half_width))[1] for sign in (1, -1))
        parts.append(f'<path class="bar {style}" d="M{x:.1f} {next(ends):.1f}V{next(ends):.1f}"/>')
    return "".join([*parts, f'<circle class="mark {style}" cx="{x:.1f}" cy="{y:.1f}" r="{_MARK:g}"/></g>'])


def _names(
    rows: Sequence[Row], frame: Frame, marks: Mapping[str, tuple[float, float]], styles: Mapping[str, str], *, most: int
) -> list[str]:
    """Names at the marks; one that finds no room is left to the table."""
    texts = {label: shortened(label, most) for label in marks}
    dots = [Box(x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR) for x, y in marks.values()]
    bars = []
    for row in rows:
        (x, _), half = marks[row.label], row.last.half_width or 0.0
        top, bottom = (frame.place(0.0, 100 * (row.last.mean + sign * half))[1] for sign in (1, -1))
        bars.append(Box(x - 1, top, x + 1, bottom))
    inside = Box(frame.left, frame.top - 8, frame.width, frame.floor)
    widths = [_LETTER * len(text) for text in texts.values()]
    boxes = placed(list(marks.values()), widths, inside, dots, bars)
    parts = []
    for (label, (x, y)), box in zip(marks.items(), boxes, strict=True):
        if box is None:
            continue
        near = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
        if abs(near[0] - x) + abs(near[1] - y) > 10:
            parts.append(f'<path class="leader {styles[label]}" d="M{x:.1f} {y:.1f}L{near[0]:.1f} {near[1]:.1f}"/>')
        said = f"{escape(texts[label])}<title>{escape(label)}</title>"
        parts.append(f'<text class="tint {styles[label]}" x="{box.left:.1f}" y="{box.bottom - 3:.1f}">{said}</text>')
    return parts
