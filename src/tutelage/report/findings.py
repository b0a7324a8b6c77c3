"""What the tables show, said in sentences: no more than they show."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tutelage.report.costs import costs
from tutelage.report.groups import Group, Row
from tutelage.report.published import published_notes
from tutelage.report.results import ALONE
from tutelage.report.runs import Run
from tutelage.report.settings import named, usual
from tutelage.report.statistics import Estimate
from tutelage.report.wording import counted, joined, number, shortened, signed

__all__ = [
    "baselines",
    "difference",
    "differences",
    "finding",
    "notes",
    "repeats",
    "summary",
    "unnamed",
]


class HasSettings(Protocol):
    """A row of a table, or a line of a plot."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What its runs share."""


def finding(group: Group, places: int) -> str:
    """What the table shows, in one or two sentences, and no more than it shows.

    Example:
        >>> from tutelage.report.results import Result, Score
        >>> from tutelage.report.runs import Run
        >>> def row(method, *accuracies):
        ...     scores = [Score(30, 0.9, test) for test in accuracies]
        ...     results = [
        ...         Result(data="digits", method=method, seed=seed, student="s", parameters=9, num_classes=2,
        ...                teacher=None, last=score, best=score, epochs=30, seconds=1, images_per_second=1)
        ...         for seed, score in enumerate(scores)
        ...     ]
        ...     return Row(label=method, method=method,
        ...                runs=tuple(Run(name="r", config={}, result=result) for result in results))
        >>> rows = (row("crd", 0.96, 0.95, 0.97), row("kd", 0.95, 0.96, 0.95))
        >>> finding(Group(data="digits", teacher="t", student="s", rows=rows), 1).replace(chr(160), " ")
        'No row is called best: crd has the highest mean, but its gain over kd is +0.7 ± 3.8, which includes \
0.'
    """
    return " ".join(filter(None, [_best(group, places), _better_than_alone(group)]))


def _best(group: Group, places: int) -> str:
    first = group.rows[0]
    if len(group.rows) == 1:
        return ""
    if group.winner is not None:
        second = group.rows[1]
        gain = signed(first.gain_over(second), places)
        over = f"its gain over {_said(second)} is {gain} points"
        if len(group.rows) > 2:
            over += f", and its gain over each of the {len(group.rows) - 2} below has an interval above 0 too"
        return _opening(f"{_said(first)} is best: {over}.")
    row, gain_or_none = group.rivals[0]
    rest = len(group.rivals) - 1
    more = f"; {counted(rest, 'other row')} cannot be told from it either" if rest else ""
    why = f"{_said(first)} has the highest mean, but {_doubt(row, gain_or_none, places)}{more}."
    return f"No row is called best: {why}"


def _doubt(rival: Row, gain: Estimate | None, places: int) -> str:
    """Why the first row is not called better than a rival."""
    if gain is None:
        return f"it has no seed in common with {_said(rival)}"
    if gain.half_width is None:
        return f"it has one seed in common with {_said(rival)}, and one seed gives no interval"
    reason = "the same for every seed: the test set is too coarse" if not gain.half_width else "which includes 0"
    return f"its gain over {_said(rival)} is {signed(gain, places)}, {reason}"


def _better_than_alone(group: Group) -> str:
    gains = group.gains_over(ALONE)
    known = [gain for gain in gains.values() if gain.half_width is not None]
    if not known:
        return ""
    better = sum(gain.excludes_zero and gain.mean > 0 for gain in known)
    worse = sum(gain.excludes_zero and gain.mean < 0 for gain in known)
    also = f" and {worse} worse" if worse else ""
    ways = counted(len(known), "way")
    said = f"Of {ways} to teach it, {better} can be called better than the student alone{also}."
    tests = group.p_values_over(ALONE)
    sure = sum(gains[label].mean > 0 and holm < 0.05 for label, (_, holm) in tests.items())
    together = (
        f" After Holm’s correction for {len(tests)} comparisons, {sure} can." if better and len(tests) > 1 else ""
    )
    return said + together


def notes(group: Group) -> list[str]:
    """What must be known to read the table.

    Example:
        >>> notes(Group(data="digits", teacher="t", student="s", rows=()))
        []
    """
    return [
        *unnamed(group.rows),
        *baselines(group),
        *differences(group),
        *filter(None, map(repeats, group.rows)),
        *published_notes(group),
        *costs(group),
    ]


def baselines(group: Group) -> list[str]:
    """Says which row the gains refer to, where a method ran with several settings.

    Example:
        >>> baselines(Group(data="digits", teacher="t", student="s", rows=()))
        []
    """
    notes = []
    for method, name in ((ALONE, "the student alone"), ("kd", "KD")):
        if sum(row.method == method for row in group.rows) < 2:
            continue
        compared: dict[str, list[str]] = {}
        for row in group.rows:
            other = group.baseline(row, method)
            if other is not None:
                compared.setdefault(other.label, []).append(row.label)
        if len(compared) == 1:
            notes.append(f"Gains over {name} are over {next(iter(compared))}, the nearest in its settings.")
        for label, rows in compared.items() if len(compared) > 1 else ():
            notes.append(f"Gains over {name} are over {label} for {joined(rows)}: the nearest in its settings.")
    return notes


def differences(group: Group) -> list[str]:
    """Rows that differ from what they are compared with in more than the method, and how.

    Example:
        >>> differences(Group(data="digits", teacher="t", student="s", rows=()))
        []
    """
    notes = []
    for row in group.rows:
        for other in filter(None, (group.baseline(row, method) for method in (ALONE, "kd"))):
            keys = row.differs_from(other)
            if keys:
                notes.append(difference(row, other, keys))
    return notes


def unnamed(rows: Sequence[HasSettings]) -> list[str]:
    """Says what a row stands for that names fewer settings than others of its method.

    Example:
        >>> unnamed([])
        []
    """
    notes = []
    kinds = dict.fromkeys(map(_kind, rows))
    for method, taught in kinds:
        most = usual([row.settings for row in rows if _kind(row) == (method, taught)])
        if most:
            apart = " without teacher" if not taught and (method, True) in kinds else ""
            name = "the student alone" if method == ALONE else method + apart
            notes.append(_opening(f"{name} has {named(most)} where its name says nothing else."))
    return notes


def _kind(row: HasSettings) -> tuple[str, bool]:
    """What rows are named by: their method, and whether they have a teacher."""
    return row.method, any(key.startswith("teacher.") for key in row.settings)


def difference(row: Row, other: Row, keys: Sequence[str]) -> str:
    """Says in which settings a row differs from another.

    Args:
        row: What is compared.
        other: With what.
        keys: The settings, as :meth:`tutelage.report.groups.Row.differs_from` finds them.
    """
    told = [(key, *(shortened(each.settings.get(key, "unset"), 24) for each in (row, other))) for key in keys[:4]]
    how = joined([f"{key} ({mine}, not {theirs})" for key, mine, theirs in told])
    more = f" and {counted(len(keys) - 4, 'other setting')}" if len(keys) > 4 else ""
    return _opening(f"{_said(row)} differs from {_said(other)} also in {how}{more}.")


def repeats(row: Row) -> str:
    """Says that a seed ran more than once, if one did.

    Example:
        >>> repeats(Row(label="kd", method="kd", runs=()))
        ''
    """
    runs, seeds = len(row.results), len(row.by_seed())
    if runs == seeds:
        return ""
    both = f"{counted(runs, 'run')} of {counted(seeds, 'seed')}"
    return _opening(f"{_said(row)} has {both}; the mean of the runs of one seed counts once.")


def summary(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    """What was done, in one paragraph.

    Example:
        >>> summary([Run(name="a", config={}, result=None)], [])
        'No run is finished yet. 1 run is unfinished and listed at the end.'
    """
    left = left_out(runs, "listed at the end")
    if not groups:
        return " ".join(["No run is finished yet.", *left])
    data = joined(sorted({group.data for group in groups}))
    seeds = sorted({seed for group in groups for seed in group.seeds})
    begin = f"{counted(sum(run.finished for run in runs), 'finished run')} on {data}, with {_seeds(seeds)}."
    families: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        families.setdefault((group.data, group.student, group.teacher, group.protocol is None), []).append(group)
    done = dict.fromkeys(map(_what_was_done, families.values()))  # of several sets of classes it may be the same
    return " ".join([begin, *done, *left])


def left_out(runs: Sequence[Run], where: str) -> list[str]:
    """A sentence each on the runs that are not finished, and on those that never will be.

    Example:
        >>> left_out([Run(name="a", config={}, result=None, diverged="the loss is nan")], "not in the table")
        ['1 run diverged and is not in the table: a.']
    """
    diverged = [run.name for run in runs if run.diverged]
    unfinished = sum(not run.finished for run in runs) - len(diverged)
    told = []
    if unfinished:
        told.append(f"{counted(unfinished, 'run')} {'is' if unfinished == 1 else 'are'} unfinished and {where}.")
    if diverged:
        verb = "is" if len(diverged) == 1 else "are"
        told.append(f"{counted(len(diverged), 'run')} diverged and {verb} {where}: {joined(diverged)}.")
    return told


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]} only"
    if len(seeds) > 3 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {joined([str(seed) for seed in seeds])}"


def _what_was_done(groups: Sequence[Group]) -> str:
    """Of one student under one teacher: a group, or one for each number of calls."""
    group = max(groups, key=lambda each: len(each.rows))
    taught = sum(row.taught for row in group.rows)
    free = sum(not row.taught and not row.alone for row in group.rows)
    alone = any(row.alone for row in group.rows)
    student = f"{group.student} ({number(group.parameters)} parameters)"
    if not group.teacher:
        return f"The network {student} was trained without a teacher{_ways(free + alone)}."
    others = [*([f"without a teacher{_ways(free)}"] if free else []), *(["alone"] if alone else [])]
    rest = f", and trained {joined(others)}" if others else ""
    calls = sorted({each.protocol.calls for each in groups if each.protocol is not None})
    after = f", with {joined([number(each) for each in calls])} teacher calls" if calls else ""
    return f"The student {student} was taught by {group.teacher}{_ways(taught)}{rest}{after}."


def _ways(count: int) -> str:
    return f" in {counted(count, 'way')}" if count > 1 else ""


def _said(row: Row) -> str:
    return f"the {row.label}" if row.alone else row.label


def _opening(sentence: str) -> str:
    """A capital for the article; the names of methods stay as they are."""
    return "The" + sentence[3:] if sentence.startswith("the ") else sentence
