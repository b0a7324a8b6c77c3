"""How samples relate, as texts: a line for each row of a group, and one for each teacher."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tutelage.report.groups import Group, Row
from tutelage.report.relations import Conditions, Near, Picture, Relations
from tutelage.report.statistics import Estimate, estimate
from tutelage.report.wording import NOTHING, counted, decimals, joined, percent, with_interval

__all__ = ["RELATIONS_LEGEND", "RelationsTable", "Strip", "conditions_title", "relations_strips", "relations_tables"]

RELATIONS_LEGEND = (
    "± is half the width of the 95 % interval of the mean over seeds (Student’s t). Overlap: share of the teacher’s k "
    "nearest samples that are among the student’s k nearest. Purity: share of the k nearest that have the sample’s "
    "label. NCM: accuracy of the nearest class mean of the training images, by cosine. NMI: normalised mutual "
    "information of labels and k-means clusters. Seen AUC: how well the teacher’s doubt tells images of classes that "
    "it knows from others. CKA: linear, without bias, 1 where both arrange the samples alike up to rotation and scale, "
    "0 where they have nothing in common. Agreement: share of the samples for which both name the same class. "
    "Correlation gap: mean absolute difference of the correlations between the logits of two samples; 0 is alike. ECE: "
    "expected calibration error, in points. Active: mean share of the channels of the last stage whose peak on an "
    "image is above a tenth of the image’s largest peak; of the half that inherits and the half that explores where a "
    "method splits them. Nothing is called here: the figures describe, they do not choose."
)

_SPACE = "\N{NO-BREAK SPACE}"

Value = Callable[[Relations], float | None]
_COLUMNS: Mapping[str, tuple[str, bool, Value]] = {
    "overlap": ("Overlap (%)", True, lambda found: found.figures.get("overlap")),
    "purity": ("Purity (%)", True, lambda found: found.student.purity),
    "ncm": ("NCM (%)", True, lambda found: found.student.ncm),
    "nmi": ("NMI", False, lambda found: found.student.nmi),
    "cka_features": ("CKA, features", False, lambda found: found.figures.get("cka_features")),
    "cka_logits": ("CKA, logits", False, lambda found: found.figures.get("cka_logits")),
    "agreement": ("Agreement (%)", True, lambda found: found.figures.get("agreement")),
    "correlation_gap": ("Correlation gap", False, lambda found: found.figures.get("correlation_gap")),
    "seen_auc": ("Seen AUC", False, lambda found: found.figures.get("seen_auc")),
    "ece": ("ECE", True, lambda found: found.student.ece),
    "active": ("Active (%)", True, lambda found: _active(found, "all")),
    "active_inheriting": ("Active, inheriting (%)", True, lambda found: _active(found, "inheritance")),
    "active_exploring": ("Active, exploring (%)", True, lambda found: _active(found, "exploration")),
}
"""Heading, whether it is a share in per cent, and where it stands."""

_OF_STUDENT = ("purity", "ncm", "nmi", "ece", "active", "active_inheriting", "active_exploring")


def _active(found: Relations, part: str) -> float | None:
    return found.channels.student.get(part) if found.channels is not None else None


class RelationsTable(NamedTuple):
    """Figures of a group under equal conditions.

    Attributes:
        title: The conditions.
        headings: Of the columns after the name of the line.
        lines: Name, row (None for a teacher) and cells.
        notes: What has to be known to read it.
    """

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, Row | None, tuple[str, ...]], ...]
    notes: tuple[str, ...]


class Strip(NamedTuple):
    """One sample of a row with what is near it.

    Attributes:
        title: What it is, and what the student says of it.
        right: Whether the student is right.
        picture: The sample.
        lists: Heading and samples with their captions, of the same class and of others.
        heat: Captions and pictures of where channels answer.
    """

    title: str
    right: bool
    picture: Picture
    lists: tuple[tuple[str, tuple[tuple[Near, str], ...]], ...]
    heat: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A row, and the relations of its runs by seed."""

    row: Row
    seeds: Mapping[int, Sequence[Relations]]

    @property
    def every(self) -> list[Relations]:
        """Of all runs."""
        return [found for each in self.seeds.values() for found in each]

    def estimate(self, key: str, teachers: set[str]) -> Estimate | None:
        """Over seeds, the runs of one seed counting once; None unless every run has the figure."""

        def value(found: Relations) -> float | None:
            ours = key in _OF_STUDENT or found.teacher is None or found.teacher.fingerprint in teachers or not teachers
            return _COLUMNS[key][2](found) if ours else None

        by_seed = [[value(found) for found in each] for each in self.seeds.values()]
        known = [[number for number in each if number is not None] for each in by_seed]
        if any(len(some) < len(each) for some, each in zip(known, by_seed, strict=True)):
            return None
        return estimate([sum(each) / len(each) for each in known])


def relations_tables(group: Group) -> list[RelationsTable]:
    """The tables of a group, one for each kind of conditions; none where no run has relations.

    A figure that compares with a network which taught nobody in the group is left out.

    Args:
        group: Rows of finished runs.

    Example:
        >>> relations_tables(Group(data="digits", teacher="", student="s", rows=()))
        []
    """
    kinds: defaultdict[Conditions, list[_Line]] = defaultdict(list)
    for row in group.rows:
        found: defaultdict[Conditions, defaultdict[int, list[Relations]]] = defaultdict(lambda: defaultdict(list))
        for run in row.runs:
            if run.result is not None and run.relations is not None:
                found[run.relations.conditions][run.result.seed].append(run.relations)
        for conditions, seeds in found.items():
            kinds[conditions].append(_Line(row=row, seeds=dict(sorted(seeds.items()))))
    return [_table(group, conditions, lines) for conditions, lines in sorted(kinds.items())]


def _table(group: Group, conditions: Conditions, lines: Sequence[_Line]) -> RelationsTable:
    taught = {teacher.fingerprint for teacher in group.teachers}
    estimates = [{key: line.estimate(key, taught) for key in _COLUMNS} for line in lines]
    shown = [key for key in _COLUMNS if any(each[key] is not None for each in estimates)]
    shares = [value for each in estimates for key, value in each.items() if value is not None and _COLUMNS[key][1]]
    places = decimals(shares)
    cells = [tuple(_cell(each[key], key, places) for key in shown) for each in estimates]
    counts = [str(len(line.seeds)) for line in lines]
    teachers = [
        (name, None, (NOTHING, *(_number(figures.get(key), key, places) for key in shown)))
        for name, figures in _teachers(lines, taught)
    ]
    ours = [(line.row.label, line.row, (n, *each)) for line, n, each in zip(lines, counts, cells, strict=True)]
    return RelationsTable(
        title=conditions_title(conditions),
        headings=("n", *(_COLUMNS[key][0] for key in shown)),
        lines=(*teachers, *ours),
        notes=tuple(_notes(group, conditions, lines, taught)),
    )


def conditions_title(conditions: Conditions) -> str:
    """The conditions in words.

    Example:
        >>> conditions_title(Conditions("test", 10000, 10, 15))
        '10,000 test images, k = 10'
    """
    return f"{counted(conditions.samples, f'{conditions.split} image')}, k = {conditions.k}"


def _cell(value: Estimate | None, key: str, places: int) -> str:
    if value is None:
        return NOTHING
    if _COLUMNS[key][1]:
        return with_interval(value, places)
    width = "" if value.half_width is None else f"{_SPACE}±{_SPACE}{value.half_width:.3f}"
    return f"{value.mean:.3f}".replace("-", "−") + width


def _number(value: float | None, key: str, places: int) -> str:
    return percent(value, places) if value is None or _COLUMNS[key][1] else f"{value:.3f}"


def _teachers(lines: Iterable[_Line], taught: set[str]) -> list[tuple[str, Mapping[str, float | None]]]:
    """Figures of each teacher alone, by fingerprint."""
    unique: dict[str, dict[str, float | None]] = {}
    for found in (found for line in lines for found in line.every):
        each, channels = found.teacher, found.channels
        if each is not None and (each.fingerprint in taught or not taught):
            active = channels.teacher if channels is not None else None
            known = {"purity": each.purity, "ncm": each.ncm, "nmi": each.nmi, "ece": each.ece, "active": active}
            unique[each.fingerprint] = {key: value for key, value in known.items() if value is not None}
    return [
        (f"teacher {name[:8]}" if len(unique) > 1 else "teacher", figures) for name, figures in sorted(unique.items())
    ]


def _notes(group: Group, conditions: Conditions, lines: Sequence[_Line], taught: set[str]) -> list[str]:
    chance = conditions.k / (conditions.samples - 1)
    notes = []
    if any(found.figures for line in lines for found in line.every):
        notes.append(f"By chance the overlap is {percent(chance, 1)} %.")
    notes.append(f"ECE is over {counted(conditions.bins, 'bin')} of equal width.")
    if roles := sorted({found.channels.role for line in lines for found in line.every if found.channels is not None}):
        notes.append(f"Active channels are those of {joined(roles)}.")
    unasked: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        for why in dict.fromkeys(found.left_out for found in line.every if found.teacher is None):
            unasked[why].append(line.row.label)
    notes += [f"No teacher was asked for {joined(labels)}: {why}." for why, labels in unasked.items()]
    if strangers := [line.row.label for line in lines if _strange(line, taught)]:
        notes.append(f"Left out for {joined(strangers)}: the figures against a network that taught nobody here.")
    if bare := [line.row.label for line in lines if any(found.student.features == "logits" for found in line.every)]:
        notes.append(f"The features of {joined(bare)} are the logits: there is no embedding.")
    if missing := sum(run.relations is None for row in group.rows for run in row.runs):
        verb = "has" if missing == 1 else "have"
        notes.append(
            f"{counted(missing, 'run')} of this group {verb} no relations: `tutelage relate RUN` measures them."
        )
    return notes


def _strange(line: _Line, taught: set[str]) -> bool:
    return bool(taught) and any(found.teacher and found.teacher.fingerprint not in taught for found in line.every)


def relations_strips(group: Group) -> list[tuple[str, list[Strip]]]:
    """The pictures of each row: those of its first run that has some, so that a page of many seeds stays small.

    Args:
        group: Rows of finished runs.
    """
    strips = []
    for row in group.rows:
        runs = [run for run in row.runs if run.relations is not None and run.relations.pictures]
        found = min(runs, key=lambda run: run.result.seed if run.result else 0, default=None)
        if found is not None and found.relations is not None and found.result is not None:
            relations = found.relations
            title = f"{row.label}, seed {found.result.seed}: nearest by the {relations.by}’s features"
            strips.append((title, [_strip(picture) for picture in relations.pictures]))
    return strips


def _strip(picture: Picture) -> Strip:
    right = picture.student_says == picture.label
    said = "the student is right" if right else f"the student says {picture.student_says}"
    lists = (("Same class", picture.positives), ("Other classes", picture.negatives))
    return Strip(
        title=f"{picture.label}: {said}",
        right=right,
        picture=picture,
        lists=tuple((name, tuple((near, _similar(near)) for near in some)) for name, some in lists if some),
        heat=tuple(picture.heat),
    )


def _similar(near: Near) -> str:
    """The similarity that decided, and the student's.

    Example:
        >>> _similar(Near(3, "cat", "", 0.914, -0.2))
        '0.91 · −0.20'
    """
    both = [near.similarity, *([near.student_similarity] if near.student_similarity is not None else [])]
    return " · ".join(f"{value:.2f}".replace("-", "−") for value in both)
