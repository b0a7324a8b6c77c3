"""The plot of accuracy against teacher calls."""

from html import escape

from tutelage.report.calls import CallsChart, CallsLine
from tutelage.report.chart import Frame, svg
from tutelage.report.plots import styles_of

__all__ = ["calls_plot", "calls_styles"]


_ROOM = 44.0  # of a number below the axis


def calls_styles(chart: CallsChart) -> dict[str, str]:
    """Colour and dashes by label, as in the other plots.

    Example:
        >>> calls_styles(CallsChart(groups=(), lines=(CallsLine(label="kd", method="kd", rows={}, settings={}),)))
        {'kd': 'c0 d0'}
    """
    return styles_of(chart.lines)


def calls_plot(chart: CallsChart, width: float) -> str:
    """Test accuracy at the last epoch by teacher calls: means over seeds, bands of their 95 % intervals.

    Args:
        chart: What to show.
        width: 860 for a page, 360 for a phone.

    Returns:
        An SVG element; empty for fewer than two numbers of calls.

    Example:
        >>> calls_plot(CallsChart(groups=(), lines=()), 860.0)
        ''
    """
    if len(chart.sizes) < 2:
        return ""
    styles, frame = calls_styles(chart), _frame(chart, width)
    bands, lines = [], []
    ends: list[tuple[str, str, tuple[float, float]]] = []
    for line in chart.lines:
        style, points = styles[line.label], _points(line)
        bands.append(frame.band(_edges(line), style))
        lines.append(frame.line(points, style, f"{line.label}: {points[-1][1]:.2f} % with {points[-1][0]:,} calls"))
        lines += [_dot(frame, line, point, style) for point in points]
        ends.append((line.label, style, points[-1]))
    for teacher in {each.test for each in chart.teachers if each.test is not None and 100 * each.test <= frame.y[1]}:
        flat = [(frame.x[0], 100 * teacher), (frame.x[1], 100 * teacher)]
        lines.append(frame.line(flat, "teacher", f"teacher: {100 * teacher:.2f} %"))
        ends.append(("teacher", "teacher", flat[1]))
    spoken = "; ".join(
        f"{line.label} {', '.join(f'{mean:.1f} with {calls:,}' for calls, mean in _points(line))}"
        for line in chart.lines
    )
    title = f"Test accuracy in per cent by teacher calls, mean over seeds: {spoken}."
    drawn = "".join([*bands, *lines])
    inner = f'<svg x="0" y="0" width="{width:g}" height="{frame.floor:g}">{drawn}</svg>'
    style = "plot many" if len(chart.lines) > 4 else "plot"
    axes = frame.axes("teacher calls", unit=" %", across=_apart(frame, chart.sizes))
    return svg(width, frame.height, title, [axes, inner, frame.names(ends)], style)


def _points(line: CallsLine) -> list[tuple[int, float]]:
    return [(calls, 100 * row.last.mean) for calls, row in line.rows.items()]


def _edges(line: CallsLine) -> list[tuple[float, float, float]]:
    """The interval at each number of calls that has one."""
    known = [(calls, 100 * row.last.mean, row.last.half_width) for calls, row in line.rows.items()]
    return [(calls, mean - 100 * half, mean + 100 * half) for calls, mean, half in known if half is not None]


def _dot(frame: Frame, line: CallsLine, point: tuple[int, float], style: str) -> str:
    x, y = frame.place(*point)
    said = escape(f"{line.label}: {point[1]:.2f} % with {point[0]:,} calls")
    return f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{said}</title></circle>'


def _frame(chart: CallsChart, width: float) -> Frame:
    """Around the means; intervals may leave it where they reach further than the means lie apart."""
    means = [mean for line in chart.lines for _, mean in _points(line)]
    edges = [edge for line in chart.lines for edge in _edges(line)]
    reach = max(max(means) - min(means), 1.0)
    low = max(min([*means, *(low for _, low, _ in edges)]), min(means) - reach / 2)
    high = min(max([*means, *(high for _, _, high in edges)]), max(means) + reach / 2)
    near = [100 * each.test for each in chart.teachers if each.test is not None]
    high = max([high, *(each for each in near if each <= max(means) + reach)])
    margin = 0.04 * (high - low)
    return Frame.beside(
        [*(line.label for line in chart.lines), "teacher"],
        width,
        x=(chart.sizes[0], chart.sizes[-1]),
        y=(max(low - margin, 0.0), min(high + margin, 100.0)),
    )


def _apart(frame: Frame, sizes: tuple[int, ...]) -> list[float]:
    """The numbers of calls that have room for their numbers; the first and the last always."""
    kept = [float(sizes[0])]
    for size in sizes[1:-1]:
        here, before, end = (frame.place(each, 0.0)[0] for each in (size, kept[-1], sizes[-1]))
        if min(here - before, end - here) >= _ROOM:
            kept.append(float(size))
    return [*kept, float(sizes[-1])]
