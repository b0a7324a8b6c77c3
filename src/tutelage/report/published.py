"""Published accuracies beside ours, where a run follows their recipe in everything that its settings say.

Source: README of https://github.com/HobbitLong/RepDistiller@b84f547, test accuracy of the last epoch on CIFAR-100.
Left out are CC, VID, AB, FT and FSP: what those names stand for there reads other features, or has another loss, than
the methods of these names here (the head of each says how). mdistiller's tables are left out too: they report the best
epoch on the test images.

Two things never match: ours hold out a share of the training images to choose the best epoch, and the teacher is of
the same model, but another training of it.
"""

from collections.abc import Mapping

from tutelage.report.groups import Group, Row
from tutelage.report.results import ALONE
from tutelage.report.wording import joined

__all__ = ["METHODS", "PAIRS", "published", "published_notes", "published_teacher"]

_SOURCE = "the README of RepDistiller (github.com/HobbitLong/RepDistiller, commit b84f547)"
_DATA = "cifar100"

METHODS: Mapping[str, Mapping[str, str]] = {
    ALONE: {},
    "kd": {"temperature": "4", "weight": "0.9", "task_weight": "0.1"},
    "fitnet": {"role": "stage2", "weight": "100", "task_weight": "1"},
    "at": {"power": "2", "weight": "1000", "task_weight": "1"},
    "sp": {"weight": "3000", "task_weight": "1"},
    "rkd": {"angle": "50", "delta": "1", "distance": "25", "role": "embedding", "task_weight": "1"},
    "pkt": {"role": "embedding", "weight": "30000", "task_weight": "1"},
    "nst": {"weight": "50", "task_weight": "1"},
    "crd": {
        "features": "128",
        "momentum": "0.5",
        "negatives": "16384",
        "role": "embedding",
        "shared_negatives": "true",
        "temperature": "0.07",
        "weight": "0.8",
        "task_weight": "1",
    },
}
"""Method → its settings as `settings.settings` tells them: those of scripts/run_cifar_distill.sh, and our defaults."""

PAIRS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("wrn_40_2", "wrn_16_2"): (75.61, 73.26, 74.92, 73.58, 74.08, 73.83, 73.35, 74.54, 73.68, 75.48),
    ("wrn_40_2", "wrn_40_1"): (75.61, 71.98, 73.54, 72.24, 72.77, 72.43, 72.22, 73.45, 72.24, 74.14),
    ("resnet56", "resnet20"): (72.34, 69.06, 70.66, 69.21, 70.55, 69.67, 69.61, 70.34, 69.60, 71.16),
    ("resnet110", "resnet20"): (74.31, 69.06, 70.67, 68.99, 70.22, 70.04, 69.25, 70.25, 69.53, 71.46),
    ("resnet110", "resnet32"): (74.31, 71.14, 73.08, 71.06, 72.31, 72.69, 71.82, 72.61, 71.96, 73.48),
    ("resnet32x4", "resnet8x4"): (79.42, 72.50, 73.33, 73.50, 73.44, 72.94, 71.90, 73.64, 73.30, 75.51),
    ("vgg13", "vgg8"): (74.64, 70.36, 72.98, 71.02, 71.43, 72.68, 71.48, 72.88, 71.53, 73.94),
    ("vgg13", "mobilenetv2"): (74.64, 64.60, 67.37, 64.14, 59.40, 66.30, 64.52, 67.13, 58.16, 69.73),
    ("resnet50", "mobilenetv2"): (79.34, 64.60, 67.35, 63.16, 58.58, 68.08, 64.43, 66.52, 64.96, 69.11),
    ("resnet50", "vgg8"): (79.34, 70.36, 73.81, 70.69, 71.84, 73.34, 71.50, 73.01, 71.28, 74.30),
    ("resnet32x4", "shufflenetv1"): (79.42, 70.50, 74.07, 73.59, 71.73, 73.48, 72.28, 74.10, 74.12, 75.11),
    ("resnet32x4", "shufflenetv2"): (79.42, 71.82, 74.45, 73.54, 72.73, 74.56, 73.21, 74.69, 74.68, 75.65),
    ("wrn_40_2", "shufflenetv1"): (75.61, 70.50, 74.83, 73.73, 73.32, 74.52, 72.21, 73.89, 74.89, 76.05),
}
"""Teacher and student → test accuracy in per cent: of the teacher, then by each method in the order of `METHODS`."""

_STAGE: Mapping[str, str] = {
    "name": "student",
    "epochs": "240",
    "optimizer.name": "sgd",
    "optimizer.momentum": "0.9",
    "optimizer.nesterov": "false",
    "optimizer.weight_decay": "0.0005",
    "optimizer.accumulate": "1",
    "schedule.name": "multistep",
    "schedule.milestones": "[0.625, 0.75, 0.875]",
    "schedule.gamma": "0.1",
    "schedule.warmup": "0",
    "schedule.floor": "0",
}
_SLOWER = ("mobilenetv2", "shufflenetv1", "shufflenetv2")  # train_student.py sets their rate to 0.01
_FREE = {"data.validation", "data.workers", "teacher.allow_bad", "teacher.batch_size"}


def published(row: Row, group: Group) -> float | None:
    """The published accuracy to compare a row with, as a share; None where its recipe is not that of a published one.

    Args:
        row: Of the group.
        group: Names the data and the networks.

    Example:
        >>> published(Row(label="kd", method="kd", runs=()), Group(data="digits", teacher="", student="s", rows=()))
    """
    pair = _pair(group)
    if group.data != _DATA or pair is None or row.method not in METHODS or row.taught == row.alone:
        return None
    held = {key: value for key, value in row.settings.items() if key not in _FREE and not key.startswith("engine.")}
    if held != _wanted(row.method, pair[1]):
        return None
    return round(PAIRS[pair][1 + list(METHODS).index(row.method)] / 100, 4)


def published_teacher(group: Group) -> float | None:
    """The published accuracy of the teacher, where a row of the group has a published one beside it.

    Example:
        >>> published_teacher(Group(data="digits", teacher="", student="s", rows=()))
    """
    pair = _pair(group)
    known = pair is not None and any(published(row, group) is not None for row in group.rows)
    return round(PAIRS[pair][0] / 100, 4) if known and pair is not None else None


def published_notes(group: Group) -> list[str]:
    """Where published numbers are from and what they do not share with ours; nothing where there are none.

    Example:
        >>> published_notes(Group(data="digits", teacher="", student="s", rows=()))
        []
    """
    rows = [row for row in group.rows if published(row, group) is not None]
    if not rows:
        return []
    shares = sorted({float(row.settings.get("data.validation", "0")) for row in rows} - {0.0})
    told = joined([f"{100 * share:g} %" for share in shares])
    held = f"ours hold out {told} of the training images, and " if shares else ""
    return [
        f"Published: last epoch, from {_SOURCE}, for rows of equal data, networks, recipe and settings; {held}"
        f"the teacher is another training of the same model. Seeds move such numbers by about ±0.3."
    ]


def _pair(group: Group) -> tuple[str, str] | None:
    """Teacher and student by their names in the zoo."""
    models = {teacher.model for teacher in group.teachers}
    pair = "".join(models).removeprefix("zoo:"), group.student.removeprefix("zoo:")
    return pair if len(models) == 1 and pair in PAIRS else None


def _wanted(method: str, student: str) -> dict[str, str]:
    """All that the settings of a run must say, and all that they may."""
    own = {"name": method, **METHODS[method]} if method != ALONE else {}
    return {
        "data.name": _DATA,
        "data.batch_size": "64",
        "student.model": f"zoo:{student}",
        "student.pretrained": "false",
        **{f"stages.1.{key}": value for key, value in _STAGE.items()},
        "stages.1.optimizer.lr": "0.01" if student in _SLOWER else "0.05",
        **{f"method.{key}": value for key, value in own.items()},
    }
