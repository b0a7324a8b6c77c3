"""What a teacher is worth to a student of other classes: gain over labels alone, by how many classes they share."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tutelage.report.chart import Frame, svg
from tutelage.report.groups import Group, Row
from tutelage.report.plots import styles_of
from tutelage.report.results import ALONE
from tutelage.report.settings import labels
from tutelage.report.statistics import Estimate
from tutelage.report.wording import signed

__all__ = ["OVERLAP_LEGEND", "OverlapChart", "OverlapLine", "overlap_charts", "overlap_plot"]

OVERLAP_LEGEND = (
    "Gain in test accuracy at the last epoch over labels alone on the same classes, paired by seed: mean, and band of "
    "its 95 % interval. Each number of shared classes is another set of classes to learn."
)

_MOVING = ("data.classes", "data.protocol.overlap")
"""What differs along a line."""


@dataclass(frozen=True, kw_only=True)
class OverlapLine:
    """One method with equal settings.

    Args:
        label: Name in plots.
        method: Name of the method.
        gains: Over labels alone, by the number of shared classes, ascending.
    """

    label: str
    method: str
    gains: Mapping[int, Estimate]

    @property
    def alone(self) -> bool:
        """Never: labels alone are what the others are compared with."""
        return self.method == ALONE


@dataclass(frozen=True, kw_only=True)
class OverlapChart:
    """Groups that differ in the student's classes alone.

    Args:
        title: Who teaches whom.
        lines: The highest mean over the numbers of shared classes first.
    """

    title: str
    lines: tuple[OverlapLine, ...]

    @property
    def shared(self) -> tuple[int, ...]:
        """The numbers of shared classes."""
        return tuple(sorted({count for line in self.lines for count in line.gains}))


def overlap_charts(groups: Iterable[Group]) -> list[OverlapChart]:
    """Put the groups of one student, teacher and number of classes together.

    Args:
        groups: As :func:`tutelage.report.groups.groups_of` makes them.

    Returns:
        The charts that have at least two numbers of shared classes.

    Example:
        >>> overlap_charts([])
        []
    """
    families: defaultdict[tuple[str, str, str, int], list[tuple[int, Group]]] = defaultdict(list)
    for group in groups:
        counts = {teacher.shared for teacher in group.teachers}
        if len(counts) == 1 and (shared := counts.pop()) is not None:
            name, classes = group.data.partition(" (")[0], group.rows[0].results[0].num_classes
            families[name, group.teacher, group.student, classes].append((shared, group))
    charts = [
        OverlapChart(title=f"{student} taught by {teacher} on {classes} classes of {data}", lines=_lines(members))
        for (data, teacher, student, classes), members in families.items()
    ]
    return [chart for chart in charts if len(chart.shared) > 1]


def _lines(members: Sequence[tuple[int, Group]]) -> tuple[OverlapLine, ...]:
    found: defaultdict[str, defaultdict[tuple[tuple[str, str], ...], dict[int, Estimate]]]
    found = defaultdict(lambda: defaultdict(dict))
    for shared, group in sorted(members, key=lambda member: member[0]):
        for row in group.rows:
            gain = row.gain_over(group.baseline(row, ALONE))
            if gain is not None:
                found[row.method][_fixed(row)][shared] = gain
    lines = [
        OverlapLine(label=label, method=method, gains=gains)
        for method, kinds in found.items()
        for label, gains in zip(labels(method, [dict(fixed) for fixed in kinds]), kinds.values(), strict=True)
    ]
    return tuple(sorted(lines, key=lambda line: (-_mean(line), line.label)))


def _fixed(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in row.settings.items() if key not in _MOVING)


def _mean(line: OverlapLine) -> float:
    return sum(gain.mean for gain in line.gains.values()) / len(line.gains)


def overlap_plot(chart: OverlapChart, width: float) -> str:
    """Gain by shared classes.

    Args:
        chart: What to show.
        width: 860 for a page, 360 for a phone.

    Returns:
        An SVG element.
    """
    styles = styles_of(chart.lines)
    edges = [0.0, *(100 * edge for line in chart.lines for gain in line.gains.values() for edge in _reach(gain))]
    margin = 0.04 * (max(edges) - min(edges) or 1.0)
    span = (chart.shared[0], chart.shared[-1])
    frame = Frame.beside(styles, width, x=span, y=(min(edges) - margin, max(edges) + margin))
    bands, drawn, ends, told = [], [], [], []
    for line in chart.lines:
        style, points = styles[line.label], [(count, 100 * gain.mean) for count, gain in line.gains.items()]
        said = f"{line.label}: {', '.join(f'{signed(gain, 1)} with {count}' for count, gain in line.gains.items())}"
        reach = [(count, *(100 * edge for edge in _reach(gain))) for count, gain in line.gains.items()]
        bands.append(frame.band([(count, low, high) for count, low, high in reach], style))
        drawn.append(frame.line(points, style, said))
        ends.append((line.label, style, points[-1]))
        told.append(said)
    drawn.append(frame.line([(frame.x[0], 0.0), (frame.x[1], 0.0)], "grey", "labels alone"))
    title = f"Gain over labels alone in points by classes shared with the teacher, mean over seeds. {'; '.join(told)}."
    inner = f'<svg x="0" y="0" width="{width:g}" height="{frame.floor:g}">{"".join([*bands, *drawn])}</svg>'
    axes = frame.axes("classes that the teacher knows", across=chart.shared)
    return svg(width, frame.height, title, [axes, inner, frame.names(ends)], "plot many" if len(ends) > 4 else "plot")


def _reach(gain: Estimate) -> tuple[float, float]:
    half = gain.half_width or 0.0
    return gain.mean - half, gain.mean + half
