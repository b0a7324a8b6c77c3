"""The plots of a group: seeds in a row of the table, learning curves, sizes of the loss terms."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tutelage.report.chart import Frame, svg
from tutelage.report.groups import Group, Row
from tutelage.report.runs import Measured

__all__ = ["Curve", "Named", "curve_of", "learning_curves", "loss_terms", "seed_range", "seeds_strip", "styles_of"]

_COLOURS = 6
_STRIP = (136.0, 22.0)
_EARLY = 0.3  # of the epochs; what is lower than all that follows may leave the frame at the bottom
_BINS = 60  # of a loss term over training


class Named(Protocol):
    """What a line is drawn for."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def alone(self) -> bool:
        """Whether it is the student without a teacher."""


def styles_of(rows: Sequence[Named]) -> dict[str, str]:
    """Colour and dashes by label: grey for the student alone, the others in the order of their names.

    After six methods the colours return with other dashes, so that no two of the first 24 look the same.

    Example:
        >>> styles_of([Row(label="alone", method="ce", runs=()), Row(label="kd", method="kd", runs=())])
        {'alone': 'grey', 'kd': 'c0 d0'}
    """
    names = sorted(row.label for row in rows if not row.alone)
    styles = {row.label: "grey" for row in rows if row.alone}
    return styles | {name: f"c{i % _COLOURS} d{(i + i // _COLOURS) % 4}" for i, name in enumerate(names)}


class Curve(NamedTuple):
    """Validation accuracy by epoch, as fractions: mean, lowest and highest over the seeds."""

    epochs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def curve_of(row: Row) -> Curve:
    """The learning curve of a row, over the epochs that all its runs have measured.

    Of a run in stages, the last stage that was validated. An epoch that was written twice (by a resumed run)
    counts once.

    Example:
        >>> from tutelage.report.runs import Run
        >>> runs = [
        ...     Run(name=name, config={}, result=None, validations=[Measured("student", 1.0, accuracy)])
        ...     for name, accuracy in (("a", 0.5), ("b", 0.75))
        ... ]
        >>> curve_of(Row(label="kd", method="kd", runs=tuple(runs)))
        Curve(epochs=[1.0], mean=[0.625], low=[0.5], high=[0.75])
    """
    found = [_last_stage(run.validations) for run in row.runs if run.validations]
    if not found:
        return Curve([], [], [], [])
    epochs = sorted(set.intersection(*map(set, found)))
    values = [[one[epoch] for one in found] for epoch in epochs]
    means = [math.fsum(each) / len(each) for each in values]
    return Curve(epochs, means, [min(each) for each in values], [max(each) for each in values])


def _last_stage(validations: Sequence[Measured]) -> dict[float, float]:
    return {each.epoch: each.accuracy for each in validations if each.stage == validations[-1].stage}


def learning_curves(group: Group, width: float) -> str:
    """Validation accuracy by epoch, a line for each row, a band from the lowest to the highest seed.

    The frame begins where the lines matter: first epochs below everything that follows are cut off.

    Args:
        group: What to show.
        width: 860 for a page, 360 for a phone.

    Returns:
        An SVG element; empty if nothing was validated twice.

    Example:
        >>> learning_curves(Group(data="digits", teacher="", student="s", rows=()), 860.0)
        ''
    """
    curves = {row.label: curve for row in group.rows if len((curve := curve_of(row)).epochs) > 1}
    if not curves:
        return ""
    known = [each.validation for each in group.teachers if each.validation is not None]
    teacher = sum(known) / len(known) if known else None
    styles = styles_of(group.rows)
    frame = _curve_frame(curves, teacher, width)
    lines, ends = [], []
    if teacher is not None:
        flat = [(frame.x[0], 100 * teacher), (frame.x[1], 100 * teacher)]
        lines.append(frame.line(flat, "teacher", f"teacher: {100 * teacher:.2f} %"))
        ends.append(("teacher", "teacher", flat[1]))
    for label, curve in curves.items():
        percents = [(epoch, 100 * mean) for epoch, mean in zip(curve.epochs, curve.mean, strict=True)]
        edges = zip(curve.epochs, curve.low, curve.high, strict=True)
        lines.append(frame.band([(x, 100 * low, 100 * high) for x, low, high in edges], styles[label]))
        told = f"{percents[-1][1]:.2f} % at the end" if math.isfinite(percents[-1][1]) else "no number at the end"
        lines.append(frame.line(percents, styles[label], f"{label}: {told}"))
        # a run that overflowed has its name where its line breaks off
        ends += [(label, styles[label], point) for point in percents if math.isfinite(point[1])][-1:]
    spoken = ", ".join(f"{name} {y:.1f}" for name, _, (_, y) in ends)
    title = f"Validation accuracy by epoch, in per cent. At the last epoch: {spoken}."
    inner = f'<svg x="0" y="0" width="{width:g}" height="{frame.floor:g}">{"".join(lines)}</svg>'
    style = "plot many" if len(curves) > 8 else "plot"
    return svg(width, frame.height, title, [frame.axes("epoch", unit=" %"), inner, frame.names(ends)], style)


def _curve_frame(curves: Mapping[str, Curve], teacher: float | None, width: float) -> Frame:
    every = list(curves.values())
    begin = min(curve.epochs[0] for curve in every)
    end = max(curve.epochs[-1] for curve in every)
    late = begin + _EARLY * (end - begin)
    pairs = [pair for curve in every for pair in zip(curve.epochs, curve.low, strict=True)]
    lows = [low for epoch, low in pairs if epoch >= late and math.isfinite(low)] or [0.0]
    highs = [high for curve in every for high in curve.high if math.isfinite(high)] or [1.0]
    low, high = min(lows), max([*highs, *([teacher] if teacher is not None else [])])
    margin = 0.06 * max(high - low, 0.01)
    reach = (100 * max(low - margin, 0.0), 100 * min(high + margin, 1.0))
    return Frame.beside([*curves, "teacher"], width, x=(begin, end), y=reach, least=360.0)


def seed_range(group: Group) -> tuple[float, float]:
    """Lowest and highest test accuracy that the strips of a group show.

    The teacher is inside unless it is further above the students than twice their own range.

    Example:
        >>> seed_range(Group(data="digits", teacher="", student="s", rows=()))
        (0.0, 1.0)
    """
    values = [value for row in group.rows for value in row.by_seed().values()]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    reach = high + 2 * max(high - low, 0.005)
    high = max([high, *(each.test for each in group.teachers if each.test is not None and each.test <= reach)])
    margin = 0.08 * max(high - low, 0.005)
    return low - margin, high + margin


def seeds_strip(row: Row, group: Group, style: str) -> str:
    """One dot a seed, a bar for the interval of the mean (cut at the edges), a tick for the mean.

    Example:
        >>> group = Group(data="digits", teacher="", student="s", rows=())
        >>> seeds_strip(Row(label="kd", method="kd", runs=()), group, "c0")
        ''
    """
    if not row.results:
        return ""
    (width, height), (low, high) = _STRIP, seed_range(group)

    def across(value: float) -> float:
        return min(max((value - low) / (high - low), 0.0), 1.0) * (width - 8) + 4

    middle = height / 2
    parts = [f'<path class="grid" d="M0 {middle:g}H{width:g}"/>']
    for teacher in group.teachers:
        if teacher.test is not None and low <= teacher.test <= high:
            parts.append(f'<path class="line teacher" d="M{across(teacher.test):.1f} 0V{height:g}"/>')
    mean, half_width = row.last.mean, row.last.half_width
    if half_width is not None:
        begin, end = across(mean - half_width), across(mean + half_width)
        parts.append(f'<path class="bar {style}" d="M{begin:.1f} {middle:g}H{end:.1f}"/>')
    seeds = row.by_seed()
    parts += [
        f'<circle class="dot {style}" cx="{across(value):.1f}" cy="{middle:g}" r="3.4">'
        f"<title>seed {seed}: {100 * value:.2f} %</title></circle>"
        for seed, value in seeds.items()
    ]
    parts.append(f'<path class="mean {style}" d="M{across(mean):.1f} 2V{height - 2:g}"/>')
    spoken = ", ".join(f"{100 * value:.2f}" for value in seeds.values())
    return svg(width, height, f"Test accuracy by seed, in per cent: {spoken}.", parts, "strip")


def loss_terms(row: Row, style: str) -> list[tuple[str, str]]:
    """Value × weight of each loss term over training, mean over the runs: one plot a stage.

    Args:
        row: The runs.
        style: Colour of the first term that is not the task's own.

    Returns:
        Stage and SVG element of each plot; nothing if no terms were written.

    Example:
        >>> loss_terms(Row(label="kd", method="kd", runs=()), "c0 d0")
        []
    """
    stages = dict.fromkeys(terms.stage for run in row.runs for terms in run.terms)
    plots = [(stage, _terms_plot(row, stage, style)) for stage in stages]
    return [(stage, plot) for stage, plot in plots if plot]


def _terms_plot(row: Row, stage: str, style: str) -> str:
    lines = _term_lines(row, stage)
    points = [point for line in lines.values() for point in line]
    if len({x for x, _ in points}) < 2:
        return ""
    end = max(terms.epoch for run in row.runs for terms in run.terms if terms.stage == stage)
    later = [y for x, y in points if x >= 0.1 * end]
    # a start 4 times above all the rest would press the rest onto the axis: it leaves the frame instead
    highest = max(later) if later and max(y for _, y in points) > 4 * max(later) > 0 else max(y for _, y in points)
    low, high = min(0.0, *(y for _, y in points)), max(highest, 0.0)
    longest = max(map(len, lines))
    height = max(190.0, 50.0 + 15 * len(lines))
    top = high + 0.06 * ((high - low) or 1.0)
    frame = Frame(width=340.0, height=height, right=min(26 + 6.8 * longest, 110.0), x=(0.0, end), y=(low, top))
    colour = int(style[1]) if style.startswith("c") else 0
    drawn, ends, others = [], [], 0
    for name, line in lines.items():
        look = "grey"
        if name != "task":
            look, others = f"c{(colour + others) % _COLOURS} d{others % 4}", others + 1
        drawn.append(frame.line(line, look, f"{name}: {line[-1][1]:.3g} at the end"))
        ends.append((name, look, line[-1]))
    spoken = ", ".join(f"{name} {line[-1][1]:.3g}" for name, line in lines.items())
    title = f"Value times weight of the loss terms of {row.label} over training. At the end: {spoken}."
    inner = f'<svg x="0" y="0" width="340" height="{frame.floor:g}">{"".join(drawn)}</svg>'
    return svg(340.0, height, title, [frame.axes("epoch"), inner, frame.names(ends)])


def _term_lines(row: Row, stage: str) -> dict[str, list[tuple[float, float]]]:
    """Points of each term: means over the runs, and over what falls into the same sixtieth of training."""
    written = [terms for run in row.runs for terms in run.terms if terms.stage == stage]
    end = max((terms.epoch for terms in written), default=0.0) or 1.0
    sums: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for terms in written:
        place = min(int(terms.epoch / end * _BINS), _BINS - 1)
        for name, size in terms.sizes.items():
            if math.isfinite(size):
                sums.setdefault(name, {}).setdefault(place, []).append((terms.epoch, size))

    def order(item: tuple[str, object]) -> tuple[bool, bool, str]:
        return item[0] != "task", item[0] != row.method, item[0]

    return {
        name: [
            (math.fsum(x for x, _ in near) / len(near), math.fsum(y for _, y in near) / len(near))
            for _, near in sorted(bins.items())
        ]
        for name, bins in sorted(sums.items(), key=order)
    }
