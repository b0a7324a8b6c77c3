"""``relations.json`` of a run, read: how its student and its teacher see samples relate."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tutelage.report.fields import Fields

__all__ = ["FIGURES", "Channels", "Conditions", "Near", "Network", "Picture", "Relations", "relations_of"]

_FORMAT = "tutelage-relations/1"

FIGURES = ("overlap", "cka_features", "cka_logits", "agreement", "correlation_gap", "seen_auc")
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
    ncm: float | None = None
    nmi: float | None = None
    fingerprint: str = ""


class Channels(NamedTuple):
    """Shares of active channels; those that are not defined are None.

    Attributes:
        role: The feature.
        above: What part of the largest peak the peak of an active channel is above.
        student: Of ``all``, and of each half where there are halves.
        teacher: Of all of the teacher's.
    """

    role: str
    above: float
    student: Mapping[str, float | None]
    teacher: float | None


class Near(NamedTuple):
    """A sample near another one, with the similarity that decided, and the student's beside it."""

    name: int
    label: str
    image: str
    similarity: float
    student_similarity: float | None


class Picture(NamedTuple):
    """A sample and what is near it; ``heat`` are pictures of where channels answer, with whose they are."""

    name: int
    label: str
    image: str
    student_says: str
    positives: Sequence[Near]
    negatives: Sequence[Near]
    heat: Sequence[tuple[str, str]] = ()


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
        channels: Which are active; None where nobody looked.
        noise: Standard deviation of the noise on the weights → accuracy in each draw; empty where nobody measured.
    """

    conditions: Conditions
    student: Network
    teacher: Network | None
    figures: Mapping[str, float | None]
    left_out: str
    by: str
    pictures: Sequence[Picture]
    channels: Channels | None = None
    noise: Mapping[float, Sequence[float]] = field(default_factory=dict)


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
        channels=_channels(fields.child("channels")) if fields.has("channels") else None,
        noise=_noise(fields.child("noise")) if fields.has("noise") else {},
    )


def _figure(fields: Fields, key: str) -> float | None:
    return fields.number(key) if fields.has(key) else None


def _network(fields: Fields) -> Network:
    figures = {key: _figure(fields, key) for key in ("accuracy", "ece", "purity", "ncm", "nmi")}
    fingerprint = fields.text("fingerprint") if fields.has("fingerprint") else ""
    return Network(features=fields.text("features"), fingerprint=fingerprint, **figures)


def _channels(fields: Fields) -> Channels:
    student = fields.child("student")
    shares = {name: _figure(student, name) for name in student.content}
    return Channels(fields.text("role"), fields.number("above"), shares, _figure(fields, "teacher"))


def _noise(fields: Fields) -> dict[float, list[float]]:
    levels = _each(fields, "levels")
    return {level.number("sigma"): _fractions(level, "accuracy") for level in levels}


def _fractions(fields: Fields, key: str) -> list[float]:
    """A list of numbers between 0 and 1."""
    content = fields.content.get(key)
    if not isinstance(content, list) or not content:
        raise fields.refusal(key, "a list of numbers")
    each = Fields(fields.source, {str(place): value for place, value in enumerate(content)}, f"{fields.at}{key}.")
    return [each.fraction(place) for place in each.content]


def _picture(fields: Fields) -> Picture:
    positives, negatives = ([_near(each) for each in _each(fields, key)] for key in ("positives", "negatives"))
    maps = _each(fields, "heat") if fields.has("heat") else []
    heat = [(each.text("of"), _image(each)) for each in maps]
    return Picture(*_shown(fields), fields.text("student_says"), positives, negatives, heat)


def _near(fields: Fields) -> Near:
    return Near(*_shown(fields), fields.number("similarity"), _figure(fields, "student_similarity"))


def _shown(fields: Fields) -> tuple[int, str, str]:
    image = _image(fields)
    return fields.count("id"), fields.text("label"), image


def _image(fields: Fields) -> str:
    image = fields.text("image")
    if not _PICTURE.fullmatch(image):
        raise fields.refusal("image", "a PNG picture as data:image/png;base64")
    return image


def _each(fields: Fields, key: str) -> list[Fields]:
    """The objects of a list."""
    content = fields.content.get(key)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise fields.refusal(key, "a list of objects")
    return [Fields(fields.source, each, f"{fields.at}{key}.{place}.") for place, each in enumerate(content)]
