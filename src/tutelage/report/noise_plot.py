"""The plot of accuracy under noise on the weights."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tutelage.report.chart import WIDTHS, Frame, svg
from tutelage.report.groups import Group, Row
from tutelage.report.plots import styles_of
from tutelage.report.relations import Conditions, Relations

__all__ = ["NOISE_LEGEND", "noise_plots"]

NOISE_LEGEND = (
    "Accuracy under Gaussian noise on the weights, of standard deviation σ times the root mean square of each tensor: "
    "mean over the draws of a run and over seeds, band from the lowest to the highest seed. What falls later lies in a "
    "flatter place."
)

Levels = Mapping[float, tuple[float, float, float]]
"""σ → mean, lowest and highest accuracy over the seeds, as fractions."""


def noise_plots(group: Group) -> list[tuple[Conditions, list[tuple[str, str]]]]:
    """A plot for each kind of conditions, for a page and for a phone; none where no run has it.

    Args:
        group: Rows of finished runs.

    Returns:
        Conditions, and width and SVG element of each.

    Example:
        >>> noise_plots(Group(data="digits", teacher="", student="s", rows=()))
        []
    """
    kinds: defaultdict[Conditions, dict[str, Levels]] = defaultdict(dict)
    for row in group.rows:
        for conditions, levels in _of_row(row).items():
            kinds[conditions][row.label] = levels
    styles = styles_of(group.rows)
    return [
        (conditions, [(name, _plot(lines, styles, width)) for name, width in WIDTHS])
        for conditions, lines in sorted(kinds.items())
    ]


def _of_row(row: Row) -> dict[Conditions, Levels]:
    """Of the runs that have it, over the levels that all of them have; the runs of one seed count once."""
    found: defaultdict[Conditions, defaultdict[int, list[Mapping[float, float]]]]
    found = defaultdict(lambda: defaultdict(list))
    for run in row.runs:
        if run.result is not None and run.relations is not None and run.relations.noise:
            found[run.relations.conditions][run.result.seed].append(_levels(run.relations))
    return {conditions: levels for conditions, seeds in found.items() if len(levels := _over(list(seeds.values()))) > 1}


def _levels(relations: Relations) -> dict[float, float]:
    plain = relations.student.accuracy
    means = {sigma: math.fsum(draws) / len(draws) for sigma, draws in relations.noise.items() if draws}
    return ({0.0: plain} if plain is not None else {}) | means


def _over(seeds: Sequence[Sequence[Mapping[float, float]]]) -> Levels:
    shared = sorted(set.intersection(*(set(levels) for each in seeds for levels in each)))
    values = {sigma: [math.fsum(levels[sigma] for levels in each) / len(each) for each in seeds] for sigma in shared}
    return {sigma: (math.fsum(each) / len(each), min(each), max(each)) for sigma, each in values.items()}


def _plot(lines: Mapping[str, Levels], styles: Mapping[str, str], width: float) -> str:
    sigmas = sorted({sigma for levels in lines.values() for sigma in levels})
    edges = [100 * value for levels in lines.values() for level in levels.values() for value in level]
    margin = 0.04 * max(max(edges) - min(edges), 1.0)
    reach = (max(min(edges) - margin, 0.0), min(max(edges) + margin, 100.0))
    frame = Frame.beside(lines, width, x=(sigmas[0], sigmas[-1]), y=reach, least=300.0)
    bands, drawn, ends, told = [], [], [], []
    for label, levels in lines.items():
        points = [(sigma, 100 * mean) for sigma, (mean, _, _) in levels.items()]
        said = f"{label}: {', '.join(f'{mean:.1f} at {sigma:g}' for sigma, mean in points)}"
        bands.append(frame.band([(s, 100 * low, 100 * high) for s, (_, low, high) in levels.items()], styles[label]))
        drawn.append(frame.line(points, styles[label], said))
        ends.append((label, styles[label], points[-1]))
        told.append(said)
    title = f"Accuracy in per cent by noise on the weights, mean over seeds. {'; '.join(told)}."
    inner = f'<svg x="0" y="0" width="{width:g}" height="{frame.floor:g}">{"".join([*bands, *drawn])}</svg>'
    axes = frame.axes("σ of the noise", unit=" %", across=sigmas)
    return svg(width, frame.height, title, [axes, inner, frame.names(ends)], "plot many" if len(lines) > 8 else "plot")
