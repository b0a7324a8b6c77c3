"""Which classes gain and which lose against the student alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.report.chart import svg
from tutelage.report.groups import Group, Row
from tutelage.report.results import ALONE
from tutelage.report.statistics import Estimate, paired
from tutelage.report.table import Cell, gain_cell
from tutelage.report.wording import percent

__all__ = ["ClassLine", "class_lines", "class_reach", "classes_legend", "classes_strip"]

_SHOWN = 5  # at either end
_STRIP = (260.0, 34.0)
_BINS = 41  # odd, so that no gain at all has a bar of its own


@dataclass(frozen=True, kw_only=True)
class ClassLine:
    """The classes of one row.

    Args:
        label: Of the row.
        gains: By the name of the class: difference in test accuracy at the last epoch, paired by seed.
    """

    label: str
    gains: Mapping[str, Estimate]

    @property
    def called(self) -> tuple[int, int]:
        """How many classes are called better, and how many worse."""
        sure = [gain.mean > 0 for gain in self.gains.values() if gain.excludes_zero]
        return sum(sure), len(sure) - sum(sure)

    @property
    def moved(self) -> tuple[int, int]:
        """How many classes have a higher mean than the student alone, and how many a lower one."""
        means = [gain.mean for gain in self.gains.values()]
        return sum(mean > 0 for mean in means), sum(mean < 0 for mean in means)

    @property
    def extremes(self) -> tuple[list[tuple[str, Cell]], list[tuple[str, Cell]]]:
        """The classes that gain most, the highest first, and those that lose most, the lowest first."""
        order = sorted(self.gains, key=lambda name: -self.gains[name].mean)
        few = min(_SHOWN, len(order) // 2)
        told = [(name, gain_cell(self.gains[name], 1)) for name in order]
        return told[:few], told[: len(told) - few - 1 : -1]


def class_lines(group: Group) -> list[ClassLine]:
    """The rows whose runs, and those of the student alone, say how well each class does.

    Example:
        >>> class_lines(Group(data="digits", teacher="", student="s", rows=()))
        []
    """
    lines = []
    for row in group.rows:
        other = group.baseline(row, ALONE)
        names = _names(row)
        if other is not None and names and names == _names(other):
            gains = {name: _gain(row, other, name) for name in names}
            known = {name: gain for name, gain in gains.items() if gain is not None}
            lines += [ClassLine(label=row.label, gains=known)] if known else []
    return lines


def _names(row: Row) -> list[str]:
    """The classes that all runs of a row tell of; empty where they do not tell of the same."""
    every = {tuple(result.classes) for result in row.results}
    return list(next(iter(every))) if len(every) == 1 else []


def _gain(row: Row, other: Row, name: str) -> Estimate | None:
    ours, theirs = (each.by_seed(lambda result: result.classes[name]) for each in (row, other))
    return paired(ours, theirs)


def class_reach(lines: Sequence[ClassLine]) -> float:
    """The largest gain or loss of any class, which the strips of a group end at; a share.

    Example:
        >>> class_reach([])
        0.01
    """
    return max([0.01, *(abs(gain.mean) for line in lines for gain in line.gains.values())])


def classes_strip(line: ClassLine, reach: float, style: str) -> str:
    """How many classes gained how much: bars, zero as a line, the mean over the classes as a tick.

    Args:
        line: Of one row.
        reach: Where the strip ends, on both sides.
        style: Colour of the row.

    Example:
        >>> cat, dog = Estimate(0.02, None, None, 1), Estimate(-0.01, None, None, 1)
        >>> line = ClassLine(label="kd", gains={"cat": cat, "dog": dog})
        >>> "1 of 2 classes gain" in classes_strip(line, 0.02, "c0 d0")
        True
    """
    width, height = _STRIP
    floor, room = height - 3, width - 8
    means = [gain.mean for gain in line.gains.values()]
    counts = [0] * _BINS
    for mean in means:
        counts[round((mean / reach + 1) / 2 * (_BINS - 1))] += 1
    step, most = room / _BINS, max(counts)
    bars = "".join(
        f"M{4 + i * step:.1f} {floor:g}v-{(height - 7) * count / most:.1f}h{step - 0.8:.1f}V{floor:g}z"
        for i, count in enumerate(counts)
        if count
    )
    middle = 4 + (sum(means) / len(means) / reach + 1) / 2 * (room - step) + step / 2
    parts = [
        f'<path class="fill {style}" d="{bars}"/>',
        f'<path class="axis" d="M{width / 2:g} 0V{height:g}"/>',
        f'<path class="grid" d="M0 {floor:g}H{width:g}"/>',
        f'<path class="mean {style}" d="M{middle:.1f} 1V{height:g}"/>',
    ]
    told = f"{line.moved[0]} of {len(means)} classes gain, {line.moved[1]} lose"
    return svg(width, height, f"Gains of the classes by {line.label}: {told}.", parts, "classes")


def classes_legend(lines: Sequence[ClassLine]) -> str:
    """What the table shows, with how many tests it stands for.

    Example:
        >>> classes_legend([])
        ''
    """
    if not lines:
        return ""
    count, reach = max(len(line.gains) for line in lines), percent(class_reach(lines), 1)
    return (
        f"Test accuracy of each class at the last epoch, over that of the student alone, paired by seed; a bar is as "
        f"high as its classes are many, from −{reach} to +{reach} points, and the tick is their mean. A class is "
        f"called where its interval excludes 0. Each row stands for {count} tests: if nothing were gained or lost, "
        f"about {0.05 * count:.1g} of its classes would be called by chance. The classes that are named are those that "
        f"moved most, so their gains are told too large."
    )
