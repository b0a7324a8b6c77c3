"""Names beside marks of a plot, where there is room for them."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Box", "placed"]

_HEIGHT = 14.0  # of a line of text
_NEAR, _FAR = (8.0, 16.0), (28.0, 42.0, 58.0)
_DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))


class Box(NamedTuple):
    """A rectangle; SVG counts downwards.

    Example:
        >>> Box(0, 0, 4, 4).meets(Box(3, 3, 9, 9)), Box(0, 0, 4, 4).meets(Box(4, 0, 9, 4))
        (True, False)
    """

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether they have a part in common; edges may touch."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def gap(self, x: float, y: float) -> float:
        """How far a point is outside.

        Example:
            >>> Box(0, 0, 4, 4).gap(7, 8), Box(0, 0, 4, 4).gap(2, 3)
            (5.0, 0.0)
        """
        return math.hypot(x - min(max(x, self.left), self.right), y - min(max(y, self.top), self.bottom))

    def within(self, other: "Box") -> bool:
        """Whether no part of it is outside."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


def placed(
    points: Sequence[tuple[float, float]],
    widths: Sequence[float],
    inside: Box,
    marks: Sequence[Box],
    lines: Sequence[Box] = (),
) -> list[Box | None]:
    """A rectangle for each name, nearer to its mark than to any other, and on no other name.

    Earlier names choose first, and each takes the nearest free place. It goes across a line rather than far away.

    Args:
        points: The middles of the marks.
        widths: Of the names.
        inside: Where names may be.
        marks: Round each point, what no name of another may cover.
        lines: What a name had better not cover.

    Returns:
        None where there is no room for a name.

    Example:
        >>> frame = Box(0, 0, 60, 40)
        >>> marks = [Box(6, 16, 14, 24), Box(8, 16, 16, 24)]
        >>> placed([(10.0, 20.0), (12.0, 20.0)], [30.0, 30.0], frame, marks)
        [None, Box(left=20.0, top=13.0, right=50.0, bottom=27.0)]
    """
    found: list[Box | None] = []
    for i, (point, width) in enumerate(zip(points, widths, strict=True)):
        full = [*marks[:i], *marks[i + 1 :], *(box for box in found if box is not None)]
        tries = ((_NEAR, [*full, *lines]), (_NEAR, full), (_FAR, [*full, *lines]), (_FAR, full))
        free = (
            box
            for distances, taken in tries
            for box in _places(point, width, distances)
            if box.within(inside) and not any(map(box.meets, taken)) and _own(box, points, i)
        )
        found.append(next(free, None))
    return found


def _own(box: Box, points: Sequence[tuple[float, float]], i: int) -> bool:
    """Whether no other mark is nearer to a name than its own."""
    gaps = [box.gap(x, y) for x, y in points]
    return all(gaps[i] <= gap for gap in gaps)


def _places(point: tuple[float, float], width: float, distances: Sequence[float]) -> Iterator[Box]:
    """Places for a name, the nearest first."""
    x, y = point
    for distance in distances:
        for across, down in _DIRECTIONS:
            left = x - width / 2 if not across else x + distance if across > 0 else x - distance - width
            top = y - _HEIGHT / 2 + down * (distance if across else distance + _HEIGHT / 2)
            yield Box(left, top, left + width, top + _HEIGHT)
