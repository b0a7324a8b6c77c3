"""``relations.json`` of a run, read: how its student and its teacher see samples relate."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tutelage.report.fields import Fields

__all__ = ["FIGURES", "Conditions", "Near", "Network", "Picture", "Relations", "relations_of"]

_FORMAT = "tutelage-relations/1"

FIGURES = ("overlap", "cka_features", "cka_logits", "agreement", "correlation_gap")
"""What compares the student with its teacher."""

_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
"""The only kind of picture that a page may hold: an address would be loaded, another kind could be a program."""


class Conditions(NamedTuple):
    """What figures depend on beside the networks: those of other conditions do not compare."""

    split: str
    samples: int
    k: int
    bins: int


class Network(NamedTuple):
    """Figures of one network; those that are not defined are None."""

    features: str
    accuracy: float | None
    ece: float | None
    purity: float | None
    fingerprint: str = ""


class Near(NamedTuple):
    """A sample near another one, with the similarity that decided, and the student's beside it."""

    name: int
    label: str
    image: str
    similarity: float
    student_similarity: float | None


class Picture(NamedTuple):
    """A sample and what is near it."""

    name: int
    label: str
    image: str
    student_says: str
    positives: Sequence[Near]
    negatives: Sequence[Near]


@dataclass(frozen=True, kw_only=True)
class Relations:
    """What ``relations.json`` says.

    Args:
        conditions: On what it was measured.
        student: Figures of the student.
        teacher: Of whom it was compared with; None if nobody.
        figures: By the names of ``FIGURES``, None where one is not defined; empty without a teacher.
        left_out: Why there was no teacher.
        by: Whose features decide what is near in the pictures.
        pictures: A few samples.
    """

    conditions: Conditions
    student: Network
    teacher: Network | None
    figures: Mapping[str, float | None]
    left_out: str
    by: str
    pictures: Sequence[Picture]


def relations_of(fields: Fields) -> Relations:
    """Read the file.

    Args:
        fields: Of ``relations.json``.

    Raises:
        DataError: if something is missing or of another kind.
    """
    if fields.content.get("format") != _FORMAT:
        raise fields.refusal("format", _FORMAT)
    pictures = fields.child("pictures")
    figures = fields.child("figures") if fields.has("figures") else None
    return Relations(
        conditions=Conditions(fields.text("split"), *(fields.count(key) for key in ("samples", "k", "bins"))),
        student=_network(fields.child("student")),
        teacher=_network(fields.child("teacher")) if fields.has("teacher") else None,
        figures={key: _figure(figures, key) for key in FIGURES} if figures is not None else {},
        left_out=fields.text("teacher_left_out"),
        by=pictures.text("by"),
        pictures=[_picture(each) for each in _each(pictures, "samples")],
    )


def _figure(fields: Fields, key: str) -> float | None:
    return fields.number(key) if fields.has(key) else None


def _network(fields: Fields) -> Network:
    accuracy, ece, purity = (_figure(fields, key) for key in ("accuracy", "ece", "purity"))
    fingerprint = fields.text("fingerprint") if fields.has("fingerprint") else ""
    return Network(fields.text("features"), accuracy, ece, purity, fingerprint)


def _picture(fields: Fields) -> Picture:
    near = ([_near(each) for each in _each(fields, key)] for key in ("positives", "negatives"))
    return Picture(*_shown(fields), fields.text("student_says"), *near)


def _near(fields: Fields) -> Near:
    return Near(*_shown(fields), fields.number("similarity"), _figure(fields, "student_similarity"))


def _shown(fields: Fields) -> tuple[int, str, str]:
    image = fields.text("image")
    if not _PICTURE.fullmatch(image):
        raise fields.refusal("image", "a PNG picture as data:image/png;base64")
    return fields.count("id"), fields.text("label"), image


def _each(fields: Fields, key: str) -> list[Fields]:
    """The objects of a list."""
    content = fields.content.get(key)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise fields.refusal(key, "a list of objects")
    return [Fields(fields.source, each, f"{fields.at}{key}.{place}.") for place, each in enumerate(content)]
