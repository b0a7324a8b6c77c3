"""Accuracy against teacher calls: a curve for each method, and how many calls it needs to equal KD.

Letters: n teacher calls.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tutelage.report.groups import Group, Row
from tutelage.report.results import ALONE, TeacherFacts
from tutelage.report.settings import labels
from tutelage.report.statistics import Estimate, paired

__all__ = ["CallsChart", "CallsLine", "calls_to_reach", "charts_of"]

_MOVING = ("data.protocol.subset_size", "epochs", "stages.1.epochs")
"""What differs along a curve: runs of equally many images pass more often over fewer of them."""


@dataclass(frozen=True, kw_only=True)
class CallsLine:
    """One method with equal settings, over numbers of teacher calls.

    Args:
        label: Name in tables and plots.
        method: Name of the method.
        rows: By number of calls, ascending.
        settings: What all of them share.
    """

    label: str
    method: str
    rows: Mapping[int, Row]
    settings: Mapping[str, str]

    @property
    def alone(self) -> bool:
        """Whether this is the student that learns by labels alone."""
        return self.method == ALONE

    @property
    def taught(self) -> bool:
        """Whether a teacher taught it; what has none learns from the same images and sends none."""
        return any(row.taught for row in self.rows.values())

    @property
    def last(self) -> dict[int, dict[int, float]]:
        """Test accuracy of the last epoch, by calls and seed."""
        return {calls: row.by_seed() for calls, row in self.rows.items()}

    def differs_from(self, other: "CallsLine") -> list[str]:
        """Settings outside method and teacher that are not equal, at any number of calls."""
        shared = self.rows.keys() & other.rows.keys()
        return sorted({key for calls in shared for key in self.rows[calls].differs_from(other.rows[calls])})


@dataclass(frozen=True, kw_only=True)
class CallsChart:
    """What is compared along numbers of calls: the groups that differ in nothing else.

    Args:
        groups: One for each number of calls, ascending.
        lines: Highest mean at the largest number of calls first.
    """

    groups: tuple[Group, ...]
    lines: tuple[CallsLine, ...]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of calls."""
        return tuple(sorted({calls for line in self.lines for calls in line.rows}))

    @property
    def teachers(self) -> tuple[TeacherFacts, ...]:
        """The different teachers, by fingerprint."""
        unique = {teacher.fingerprint: teacher for group in self.groups for teacher in group.teachers}
        return tuple(unique[fingerprint] for fingerprint in sorted(unique))

    @cached_property
    def candidates(self) -> list[CallsLine]:
        """The rows of KD that are equally near to all others in their settings: one of them is the reference."""
        found = [line for line in self.lines if line.method == "kd"]
        distances = [sum(len(line.differs_from(other)) for other in self.lines) for line in found]
        return [line for line, distance in zip(found, distances, strict=True) if distance == min(distances)]

    @cached_property
    def reference(self) -> CallsLine | None:
        """KD: with the most numbers of calls, and among those the strongest in the mean over them."""

        def strength(line: CallsLine) -> tuple[int, float]:
            means = [row.last.mean for row in line.rows.values()]
            return len(means), math.fsum(means) / len(means)

        return max(self.candidates, key=strength, default=None)

    def gain(self, line: CallsLine, calls: int) -> Estimate | None:
        """Over KD with equally many calls, paired by seed."""
        kd = self.reference
        if kd is None or kd is line or calls not in line.rows or calls not in kd.rows:
            return None
        return line.rows[calls].gain_over(kd.rows[calls])

    def needed(self, line: CallsLine, calls: int) -> dict[int, float]:
        """How many calls a method needs to equal KD with so many, by seed: see :func:`calls_to_reach`.

        Seeds that lack one of the method's numbers of calls are left out: their curve has other ends.
        """
        kd = self.reference
        if kd is None or kd is line or not line.taught or calls not in kd.rows or len(line.rows) < 2:
            return {}
        points, targets = line.last, kd.rows[calls].by_seed()
        seeds = sorted(set.intersection(*map(set, points.values())) & targets.keys())
        return {seed: calls_to_reach({n: points[n][seed] for n in points}, targets[seed]) for seed in seeds}

    def saved(self, line: CallsLine, calls: int) -> Estimate | None:
        """Calls of KD less those needed; None where they are not known for every seed."""
        needed = self.needed(line, calls)
        if not needed or not all(map(math.isfinite, needed.values())):
            return None
        return paired(dict.fromkeys(needed, float(calls)), needed)


def calls_to_reach(curve: Mapping[int, float], target: float) -> float:
    """Where a curve first reaches a height, by straight lines between its points.

    The first crossing counts even if the curve falls again later.

    Args:
        curve: Accuracy by number of calls.
        target: The accuracy to reach.

    Returns:
        A number of calls; −∞ if the curve begins at the height or above it, which says "the smallest number or
        fewer", and ∞ if it stays below.

    Example:
        >>> calls_to_reach({1600: 0.25, 3200: 0.35}, 0.30), calls_to_reach({1600: 0.25, 3200: 0.35}, 0.25)
        (2400.0, -inf)
    """
    points = sorted(curve.items())
    if points[0][1] >= target:
        return -math.inf
    for (n, low), (m, high) in itertools.pairwise(points):
        if low < target <= high:
            return n + (m - n) * (target - low) / (high - low)
    return math.inf


def charts_of(groups: Iterable[Group]) -> list[CallsChart]:
    """Put the groups of one student, teacher and protocol but several numbers of calls together.

    A row whose plan or budget keeps it from asking for all that its protocol allows is in no chart: its number of
    calls is another.

    Args:
        groups: As :func:`tutelage.report.groups.groups_of` makes them.

    Returns:
        One chart for each kind of group under a protocol of few calls, with however many sizes there are.

    Example:
        >>> charts_of([])
        []
    """
    kinds: defaultdict[tuple[object, ...], list[Group]] = defaultdict(list)
    for group in groups:
        if group.protocol is not None and group.teacher:
            _, *rest = group.protocol
            kinds[group.data, group.student, group.teacher, *rest].append(group)
    charts = [CallsChart(groups=tuple(members), lines=_lines(members)) for members in kinds.values()]
    return [chart for chart in charts if chart.lines]


def _lines(groups: Iterable[Group]) -> tuple[CallsLine, ...]:
    found: defaultdict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[int, Row]]] = defaultdict(list)
    for group in groups:
        for row in group.rows:
            if group.protocol is not None and row.asks_all:
                fixed = tuple((key, value) for key, value in row.settings.items() if key not in _MOVING)
                found[row.method, fixed].append((group.protocol.calls, row))
    variants: defaultdict[str, list[tuple[dict[str, str], dict[int, Row]]]] = defaultdict(list)
    for (method, settings), members in found.items():
        variants[method] += _apart(dict(settings), members)
    lines = [
        CallsLine(label=label, method=method, rows=rows, settings=shared)
        for method, kinds in variants.items()
        for label, (shared, rows) in zip(
            labels("student alone" if method == ALONE else method, [settings for settings, _ in kinds]),
            kinds,
            strict=True,
        )
    ]
    largest = max((max(line.rows) for line in lines), default=0)

    def order(line: CallsLine) -> tuple[bool, float, str]:
        end = max(line.rows)
        return end < largest, -line.rows[end].last.mean, line.label

    return tuple(sorted(lines, key=order))


def _apart(settings: dict[str, str], members: list[tuple[int, Row]]) -> list[tuple[dict[str, str], dict[int, Row]]]:
    """One line, or one for each length of training if one number of calls was trained for several lengths."""
    members = sorted(members, key=lambda member: member[0])
    if len({calls for calls, _ in members}) == len(members):
        return [(settings, dict(members))]
    kinds: defaultdict[tuple[tuple[str, str], ...], dict[int, Row]] = defaultdict(dict)
    for calls, row in members:
        length = {key: row.settings[key] for key in _MOVING[1:] if key in row.settings}
        if calls in kinds[tuple(length.items())]:  # two subsets that round to as many calls
            length[_MOVING[0]] = row.settings[_MOVING[0]]
        kinds[tuple(length.items())][calls] = row
    return [(settings | dict(length), rows) for length, rows in kinds.items()]
