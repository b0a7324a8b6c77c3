"""Parts of which plots are made: an SVG frame with axes, lines, bands and labels.

Plots are written by hand instead of by matplotlib: their colours then follow the light or dark scheme of the
page, their letters are letters, and one of them takes 5 kB instead of 60.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tutelage.report.wording import shortened

__all__ = ["WIDTHS", "Frame", "apart", "svg", "ticks"]

WIDTHS = (("wide", 860.0), ("narrow", 360.0))
"""Of a plot on a page, and of the one that a phone shows in its place."""

Point = tuple[float, float]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two numbers, 1, 2 or 5 times a power of ten apart.

    Args:
        low: Where the axis begins.
        high: Where it ends.
        most: How many there may be.

    Example:
        >>> ticks(0.0, 30.0, 6), ticks(91.3, 96.2, 4)
        ([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [92.0, 94.0, 96.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as possible to the wanted ones, no two closer than a gap.

    Args:
        wanted: Places, in any order.
        gap: The least distance.
        low: No place is above this (SVG counts downwards).
        high: No place is below this, if there is room.

    Example:
        >>> apart([10.0, 12.0, 50.0], 14.0, 0.0, 100.0)
        [4.0, 18.0, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    clusters: list[tuple[float, list[int]]] = []  # top of the cluster, its members

    def top(members: list[int]) -> float:
        ideal = sum(wanted[i] - k * gap for k, i in enumerate(members)) / len(members)
        return max(low, min(ideal, high - gap * (len(members) - 1)))

    for i in order:
        members = [i]
        while clusters and clusters[-1][0] + gap * len(clusters[-1][1]) > top(members):
            members = clusters.pop()[1] + members
        clusters.append((top(members), members))
    placed = {i: start + k * gap for start, members in clusters for k, i in enumerate(members)}
    return [placed[i] for i in range(len(wanted))]


def svg(width: float, height: float, title: str, body: Iterable[str], style: str = "plot") -> str:
    """A whole plot.

    Args:
        width: In units of the frame.
        height: Likewise.
        title: What a screen reader says: the contents, not the kind of plot alone.
        body: The elements.
        style: Class of the element.

    Example:
        >>> print(svg(20.0, 10.0, "a < b", ["<g></g>"]))
        <svg class="plot" viewBox="0 0 20 10" role="img" aria-label="a &lt; b"><g></g></svg>
    """
    inside = "".join(body)
    return (
        f'<svg class="{style}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{inside}</svg>"
    )


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The rectangle of a plot, from numbers to places.

    Args:
        width: Of the whole plot.
        height: Of the whole plot.
        right: Room for labels on the right.
        x: First and last number of the horizontal axis.
        y: Lowest and highest number of the vertical axis.

    Example:
        >>> frame = Frame(width=200.0, height=100.0, right=56.0, x=(0.0, 10.0), y=(0.0, 1.0))
        >>> frame.place(5.0, 1.0)
        (94.0, 12.0)
    """

    width: float
    height: float
    right: float
    x: tuple[float, float]
    y: tuple[float, float]
    left = 44.0
    top = 12.0
    bottom = 38.0

    @classmethod
    def beside(
        cls,
        names: Collection[str],
        width: float,
        *,
        x: tuple[float, float],
        y: tuple[float, float],
        least: float = 400.0,
    ) -> "Frame":
        """A frame with room for names on the right, each on a line of its own.

        Args:
            names: Of all lines.
            width: Of the whole plot: those of ``WIDTHS``.
            x: First and last number of the horizontal axis.
            y: Lowest and highest number of the vertical axis.
            least: Height on a page; on a phone it is at most 300.
        """
        return cls(
            width=width,
            height=max(min(least, 300.0) if width < 500 else least, 50.0 + 15 * len(names)),
            right=min(24 + 6.8 * max(map(len, names)), 0.34 * width),
            x=x,
            y=y,
        )

    @property
    def end(self) -> float:
        """Where the axes end on the right."""
        return self.width - self.right

    @property
    def floor(self) -> float:
        """Where the horizontal axis lies."""
        return self.height - self.bottom

    def place(self, x: float, y: float) -> Point:
        """Numbers to places."""
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return self.left + across * (self.end - self.left), self.floor - up * (self.floor - self.top)

    def line(self, points: Iterable[Point], style: str, title: str) -> str:
        """A line through points, interrupted where a number is not finite."""
        parts, pen = [], "M"
        for x, y in points:
            if math.isfinite(y):
                px, py = self.place(x, y)
                parts.append(f"{pen}{px:.1f} {py:.1f}")
                pen = "L"
            else:
                pen = "M"
        path = "".join(parts)
        return f'<path class="line {style}" d="{path}"><title>{escape(title)}</title></path>' if path else ""

    def band(self, points: Sequence[tuple[float, float, float]], style: str) -> str:
        """The area between a lower and an upper number at each place."""
        known = [point for point in points if math.isfinite(point[1]) and math.isfinite(point[2])]
        if len(known) < 2:
            return ""
        edge = [self.place(x, high) for x, _, high in known]
        edge += [self.place(x, low) for x, low, _ in reversed(known)]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in edge)
        return f'<path class="band {style}" d="M{path}Z"/>'

    def axes(self, below: str, *, unit: str = "", across: Sequence[float] = ()) -> str:
        """Grid lines with their numbers, and a name below; ``across`` in the place of round numbers there."""
        parts = []
        for value in ticks(*self.y, most=max(2, int((self.floor - self.top) / 44))):
            _, py = self.place(self.x[0], value)
            parts.append(f'<path class="grid" d="M{self.left:g} {py:.1f}H{self.end:.1f}"/>')
            parts.append(_text(self.left - 7, py + 4, f"{value:g}{unit}", "tick end"))
        for value in across or ticks(*self.x, most=max(2, int((self.end - self.left) / 60))):
            px, _ = self.place(value, self.y[0])
            parts.append(_text(px, self.floor + 16, f"{value:g}", "tick middle"))
        parts.append(f'<path class="axis" d="M{self.left:g} {self.floor:g}H{self.end:.1f}"/>')
        parts.append(_text((self.left + self.end) / 2, self.floor + 32, below, "tick middle"))
        return "".join(parts)

    def names(self, ends: Sequence[tuple[str, str, Point]]) -> str:
        """Names on the right, each led to the end of its line; ``ends`` holds name, style and last point."""
        places = [self.place(*point) for _, _, point in ends]
        inside = [min(max(py, self.top), self.floor) for _, py in places]
        heights = apart(inside, 15.0, self.top, self.floor + 20.0)
        most = int((self.right - 24) / 6.6)
        parts = []
        for (name, style, _), (px, _), begin, height in zip(ends, places, inside, heights, strict=True):
            parts.append(
                f'<path class="leader {style}" d="M{px:.1f} {begin:.1f}L{self.end + 16:.1f} {height:.1f}"/>'
                f'<text class="name" x="{self.end + 20:.1f}" y="{height + 4:.1f}">'
                f"{escape(shortened(name, most))}<title>{escape(name)}</title></text>"
            )
        return "".join(parts)


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
