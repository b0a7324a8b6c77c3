"""What methods watch at each validation, such as CKA of two halves with the teacher: a plot a row and quantity."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from tutelage.report.chart import Frame, svg
from tutelage.report.groups import Group, Row
from tutelage.report.plots import Curve

__all__ = ["WATCHED_LEGEND", "Panel", "watched_panels"]

WATCHED_LEGEND = (
    "On up to 256 validation images, by epoch: mean over runs, band from the lowest to the highest. It chooses "
    "nothing. CKA: linear, without bias, of the half of the student’s channels that inherits and of the half that "
    "explores, each with the whole feature of the teacher, or in the mean with those of the peers; 1 where both "
    "arrange the images alike up to rotation and scale, 0 where they have nothing in common. Plots of one quantity "
    "have one scale."
)

_KNOWN = {"cka_inheritance": ("CKA", "inheritance"), "cka_exploration": ("CKA", "exploration")}
"""Figure → its quantity, and its name among those of the same quantity; one that is not known stands for itself."""

_WIDTH, _HEIGHT = 340.0, 190.0
_COLOURS = 6


class Panel(NamedTuple):
    """A plot.

    Attributes:
        label: Of the row.
        quantity: What is drawn.
        runs: How many runs it is of, where not all of the row have it; else empty.
        plot: An SVG element.
    """

    label: str
    quantity: str
    runs: str
    plot: str


def watched_panels(group: Group) -> list[Panel]:
    """The plots of a group: a line for each figure of a quantity; none where nothing was watched twice.

    Args:
        group: Rows of finished runs.

    Example:
        >>> watched_panels(Group(data="digits", teacher="", student="s", rows=()))
        []
    """
    found = [(row, quantity, lines) for row in group.rows for quantity, lines in _quantities(row).items()]
    panels = []
    for row, quantity, lines in found:
        scale = _scale([other for _, name, each in found if name == quantity for other in each.values()])
        count, every = max(curve.runs for curve in lines.values()), len(row.runs)
        runs = f"{count} of {every} runs" if count < every else ""
        panels.append(Panel(row.label, quantity, runs, _plot(row.label, quantity, lines, scale)))
    return panels


class _Watched(NamedTuple):
    """A curve, and of how many runs it is."""

    curve: Curve
    runs: int


def _quantities(row: Row) -> dict[str, dict[str, _Watched]]:
    """Quantity → name → curve, for those that have at least two epochs."""
    names = dict.fromkeys(name for run in row.runs for each in run.validations for name in each.figures)
    found: dict[str, dict[str, _Watched]] = {}
    for name in names:
        watched = _watched(row, name)
        if len(watched.curve.epochs) > 1:
            quantity, label = _named(name)
            found.setdefault(quantity, {})[label] = watched
    return found


def _named(name: str) -> tuple[str, str]:
    """Quantity and label of a figure; what stands before a dot is told with the label.

    Example:
        >>> _named("cka_exploration"), _named("iekd2.cka_exploration"), _named("kd.gap")
        (('CKA', 'exploration'), ('CKA', 'iekd2 exploration'), ('kd.gap', 'kd.gap'))
    """
    part, _, own = name.rpartition(".")
    if own not in _KNOWN:
        return name, name
    quantity, label = _KNOWN[own]
    return quantity, f"{part} {label}" if part else label


def _watched(row: Row, name: str) -> _Watched:
    """Over the epochs that all runs with the figure have measured in their last stage."""
    every = [
        {each.epoch: each.figures[name] for each in run.validations if each.stage == last and name in each.figures}
        for run in row.runs
        for last in [run.validations[-1].stage if run.validations else ""]
    ]
    found = [values for values in every if values]
    if not found:
        return _Watched(Curve([], [], [], []), 0)
    epochs = sorted(set.intersection(*map(set, found)))
    values = [[one[epoch] for one in found] for epoch in epochs]
    means = [math.fsum(each) / len(each) for each in values]
    return _Watched(Curve(epochs, means, [min(each) for each in values], [max(each) for each in values]), len(found))


def _scale(lines: list[_Watched]) -> tuple[float, float]:
    """From zero, or what is below it, to the highest."""
    values = [value for each in lines for value in (*each.curve.low, *each.curve.high) if math.isfinite(value)]
    low, high = min([0.0, *values]), max([0.0, *values])
    return low, high + 0.06 * ((high - low) or 1.0)


def _plot(label: str, quantity: str, lines: Mapping[str, _Watched], scale: tuple[float, float]) -> str:
    begin = min(each.curve.epochs[0] for each in lines.values())
    end = max(each.curve.epochs[-1] for each in lines.values())
    right = min(26 + 6.8 * max(map(len, lines)), 128.0)
    frame = Frame(width=_WIDTH, height=max(_HEIGHT, 50.0 + 15 * len(lines)), right=right, x=(begin, end), y=scale)
    bands, drawn, ends, told = [], [], [], []
    for i, (name, (curve, _)) in enumerate(lines.items()):
        style = f"c{i % _COLOURS} d{i % 4}"
        points = [point for point in zip(curve.epochs, curve.mean, strict=True) if math.isfinite(point[1])]
        said = f"{name} {points[-1][1]:.2f}" if points else f"{name} undefined"
        bands.append(frame.band(list(zip(curve.epochs, curve.low, curve.high, strict=True)), style))
        drawn.append(frame.line(zip(curve.epochs, curve.mean, strict=True), style, f"{said} at the end"))
        ends += [(name, style, point) for point in points[-1:]]
        told.append(said)
    title = f"{quantity} of {label} by epoch. At the last: {', '.join(told)}."
    inner = f'<svg x="0" y="0" width="{_WIDTH:g}" height="{frame.floor:g}">{"".join([*bands, *drawn])}</svg>'
    return svg(_WIDTH, frame.height, title, [frame.axes("epoch"), inner, frame.names(ends)])
