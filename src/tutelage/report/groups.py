"""Rows and groups: which runs are compared with which, and by how much they differ."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from tutelage.report.protocols import FewCalls, few_calls
from tutelage.report.results import ALONE, Result, TeacherFacts
from tutelage.report.runs import Run
from tutelage.report.settings import differing, labels, settings
from tutelage.report.statistics import Estimate, estimate, holm, paired

__all__ = ["Group", "Row", "groups_of"]

_Task = tuple[str, str, FewCalls | None]
"""Data, student and protocol."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method with equal settings: they differ in the seed.

    Args:
        label: Name in tables and plots.
        method: Name of the method.
        runs: All finished.
    """

    label: str
    method: str
    runs: tuple[Run, ...]

    @property
    def alone(self) -> bool:
        """Whether this is the student that learns by labels alone."""
        return self.method == ALONE

    @property
    def taught(self) -> bool:
        """Whether a teacher taught it: neither labels alone nor a method that needs none."""
        return any(result.teacher is not None for result in self.results)

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """Of all runs."""
        return tuple(run.result for run in self.runs if run.result is not None)

    @cached_property
    def settings(self) -> dict[str, str]:
        """What all its runs share."""
        return settings(self.runs[0].config)

    @cached_property
    def last(self) -> Estimate:
        """Test accuracy of the last epoch."""
        return estimate(list(self.by_seed().values()))

    @cached_property
    def best(self) -> Estimate:
        """Test accuracy of the epoch with the highest validation accuracy."""
        return estimate(list(self.by_seed(lambda result: result.best.test).values()))

    def by_seed(self, value: Callable[[Result], float] = lambda result: result.last.test) -> dict[int, float]:
        """A value for each seed; the runs of one seed are no independent evidence: their mean counts once."""
        found: defaultdict[int, list[float]] = defaultdict(list)
        for result in self.results:
            found[result.seed].append(value(result))
        return {seed: sum(values) / len(values) for seed, values in sorted(found.items())}

    def judged(self, name: str) -> Estimate | None:
        """Another figure of :attr:`Result.judges`; None where not every run has it."""
        if not all(name in result.judges for result in self.results):
            return None
        return estimate(list(self.by_seed(lambda result: result.judges[name]).values()))

    def mean(self, value: Callable[[Result], float]) -> float:
        """Mean of a value over the runs."""
        return sum(map(value, self.results)) / len(self.results)

    def memory(self) -> float | None:
        """Bytes of training at its peak, the middle one of the runs; None where it was not measured alike in all.

        The middle one, because the first run of a process also holds what torch loads once.
        """
        every = [result.memory for result in self.results]
        known = [memory.bytes for memory in every if memory is not None]
        kinds = {memory.kind for memory in every if memory is not None}
        return median(known) if len(kinds) == 1 and len(known) == len(every) else None

    def gain_over(self, other: "Row | None") -> Estimate | None:
        """Difference in test accuracy at the last epoch, paired by seed."""
        return None if other is None or other is self else paired(self.by_seed(), other.by_seed())

    @property
    def asks_all(self) -> bool:
        """Whether nothing keeps the runs from asking as often as their protocol allows: no plan, no lower budget."""
        every = (few_calls(run) for run in self.runs)
        budget = self.settings.get("teacher.answers.budget")
        enough = budget is None or (
            budget.isdecimal() and all(few is not None and few.calls <= int(budget) for few in every)
        )
        return enough and "teacher.answers.plan" not in self.settings

    def differs_from(self, other: "Row") -> list[str]:
        """Settings that are not equal, other than those of the method, its teacher and stages that one lacks."""
        if not self.settings or not other.settings:
            return []  # nobody kept the settings of one
        keys = differing([self.settings, other.settings])
        return [key for key in keys if not key.startswith(("method.", "teacher.")) and self._may_have(key, other)]

    def _may_have(self, key: str, other: "Row") -> bool:
        section = ".".join(key.split(".")[:2]) + "."
        both = (any(name.startswith(section) for name in row.settings) for row in (self, other))
        return not key.startswith("stages.") or all(both)


@dataclass(frozen=True, kw_only=True)
class Group:
    """What is compared: one student on one data set, taught by one teacher in several ways, and by none.

    Args:
        data: Name of the data set.
        teacher: Model of the teacher; empty if there is none.
        student: Model of the student.
        rows: Highest mean first.
        protocol: How many calls of the teacher all of them may make; None if nothing says so.
    """

    data: str
    teacher: str
    student: str
    rows: tuple[Row, ...]
    protocol: FewCalls | None = None

    @cached_property
    def teachers(self) -> tuple[TeacherFacts, ...]:
        """The different teachers, by fingerprint."""
        every = (result.teacher for row in self.rows if not row.alone for result in row.results)
        unique = {teacher.fingerprint: teacher for teacher in every if teacher is not None}
        return tuple(unique[fingerprint] for fingerprint in sorted(unique))

    @property
    def parameters(self) -> int:
        """Of the student."""
        return self.rows[0].results[0].parameters

    @property
    def epochs(self) -> list[float]:
        """All that occur, of the student."""
        return sorted({result.epochs for row in self.rows for result in row.results})

    @property
    def seeds(self) -> list[int]:
        """All that occur."""
        return sorted({result.seed for row in self.rows for result in row.results})

    def baseline(self, row: Row, method: str) -> Row | None:
        """The row of a method to compare another row with.

        If the method ran with several settings: the row with the fewest differences outside method and
        teacher, and among those the strongest. A row of the method itself is compared with none.
        """
        if row.method == method:
            return None
        found = [other for other in self.rows if other.method == method]
        return min(found, key=lambda other: (len(row.differs_from(other)), -other.last.mean), default=None)

    def gains_over(self, method: str) -> dict[str, Estimate]:
        """By label, the gain of each row over its baseline, where there is one with a seed in common."""
        gains = {row.label: row.gain_over(self.baseline(row, method)) for row in self.rows}
        return {label: gain for label, gain in gains.items() if gain is not None}

    def p_values_over(self, method: str) -> dict[str, tuple[float, float]]:
        """By label, the p-value of the gain over the baseline, alone and by Holm's correction for all rows."""
        known = {label: gain.p_value for label, gain in self.gains_over(method).items()}
        found = {label: p for label, p in known.items() if p is not None}
        return dict(zip(found, zip(found.values(), holm(list(found.values())), strict=True), strict=True))

    @cached_property
    def rivals(self) -> list[tuple[Row, Estimate | None]]:
        """The rows that the first row is not called better than, with its gain over each."""
        gains = [(row, self.rows[0].gain_over(row)) for row in self.rows[1:]]
        return [(row, gain) for row, gain in gains if gain is None or gain.mean <= 0 or not gain.excludes_zero]

    @property
    def winner(self) -> Row | None:
        """The row whose paired gain over every other row has an interval above zero, if there is one."""
        return self.rows[0] if len(self.rows) > 1 and not self.rivals else None


def groups_of(runs: Iterable[Run]) -> list[Group]:
    """Sort the finished runs into groups and rows.

    A student without a teacher, alone or by a method that needs none, belongs to every group of its data, protocol and
    model. Runs of one method, one seed and equal settings under teachers of one model but different weights make a
    group for each teacher. Each number of teacher calls is a group: what learns from more images is not compared with
    what learns from fewer.

    Args:
        runs: Finished or not.

    Returns:
        The groups: those with a teacher first, then by data, student, teacher and number of calls.

    Example:
        >>> groups_of([])
        []
    """
    finished = [run for run in runs if run.result is not None]
    split = _split_teachers(finished)
    taught: defaultdict[tuple[_Task, str], list[Run]] = defaultdict(list)
    untaught: defaultdict[_Task, list[Run]] = defaultdict(list)
    for run in finished:
        result = run.result
        if result is None:
            continue
        task = (result.data, result.student, few_calls(run))
        if result.method == ALONE or result.teacher is None:
            untaught[task].append(run)
        else:
            taught[task, _teacher_name(result, split)].append(run)
    for task in untaught:
        if not any(key[0] == task for key in taught):
            taught[task, ""] = []

    def order(item: tuple[tuple[_Task, str], list[Run]]) -> tuple[object, ...]:
        ((data, student, protocol), teacher), _ = item
        return not teacher, data, student, teacher, (protocol.calls, *protocol) if protocol else ()

    return [
        Group(
            data=task[0],
            student=task[1],
            teacher=teacher,
            rows=_rows([*members, *untaught[task]], "student" if teacher else "network"),
            protocol=task[2],
        )
        for (task, teacher), members in sorted(taught.items(), key=order)
    ]


def _split_teachers(runs: Sequence[Run]) -> set[tuple[str, str]]:
    """Data and teacher models that stand for several teachers, between which the seed does not choose."""
    seen: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
    for run in runs:
        result = run.result
        if result is not None and result.teacher is not None and result.method != ALONE:
            variant = (result.student, result.method, result.seed, *settings(run.config).items())
            seen[result.data, result.teacher.model, *variant].add(result.teacher.fingerprint)
    return {(str(key[0]), str(key[1])) for key, prints in seen.items() if len(prints) > 1}


def _teacher_name(result: Result, split: set[tuple[str, str]]) -> str:
    if result.teacher is None:
        return ""
    several = (result.data, result.teacher.model) in split
    return result.teacher.model + (f" ({result.teacher.fingerprint[:8]})" if several else "")


def _rows(runs: Iterable[Run], who: str) -> tuple[Row, ...]:
    """Rows of a method that has a teacher in some runs and none in others are named apart."""
    variants: defaultdict[tuple[str, bool], defaultdict[tuple[tuple[str, str], ...], list[Run]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for run in runs:
        if run.result is not None:
            kind = run.result.method, run.result.teacher is not None
            variants[kind][tuple(settings(run.config).items())].append(run)

    def name(method: str, taught: bool) -> str:
        if method == ALONE:
            return f"{who} alone"
        return f"{method} without teacher" if not taught and (method, True) in variants else method

    rows = [
        Row(label=label, method=method, runs=tuple(sorted(members, key=lambda run: run.name)))
        for (method, taught), found in variants.items()
        for label, members in zip(
            labels(name(method, taught), [dict(variant) for variant in found]),
            found.values(),
            strict=True,
        )
    ]
    return tuple(sorted(rows, key=lambda row: (-row.last.mean, row.label)))
