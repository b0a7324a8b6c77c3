"""Opens the bare teacher that a config names: a stored network, a server, a function, or a copy of the student."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tutelage.data import Dataset
from tutelage.data.class_lists import read_classes, read_names
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError, ShapeError
from tutelage.labels import LabelSpace
from tutelage.models import Network, load_network
from tutelage.models.checkpoint import read_card, retapped
from tutelage.models.resolver import import_function
from tutelage.teachers import (
    AveragingTeacher,
    CallableTeacher,
    EMATeacher,
    HttpTeacher,
    LiveTeacher,
    MovingTeacher,
    SnapshotTeacher,
    Teacher,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["classes_of", "open_teacher"]

MOVING: Mapping[str, Callable[..., MovingTeacher]] = {"ema": EMATeacher, "snapshot": SnapshotTeacher}
AUTHORIZATION = "TUTELAGE_TEACHER_AUTHORIZATION"
"""The environment variable that holds what a server wants to see: a secret has no place in a config."""


def open_teacher(
    config: TeacherConfig,
    data: Dataset,
    fabric: "Fabric",
    *,
    channels_last: bool = True,
    student: Network | None = None,
) -> Teacher:
    """The bare teacher: nothing is cached, counted or refused.

    Args:
        config: Which one.
        data: Whose images it is shown.
        fabric: Knows device and precision.
        channels_last: Keep the network's weights in that memory format.
        student: What ``ema`` and ``snapshot`` are copies of, on its device.

    Raises:
        TutelageError: if it cannot be opened, does not take these images, or has other classes than those it is given.
    """
    teacher = _opened(config, data, fabric, channels_last, student)
    if config.kind != "function":  # it knows none of its own
        teacher.labels = _named(config, teacher.labels)
    return teacher


def classes_of(config: TeacherConfig) -> LabelSpace | None:
    """The classes of a teacher that is not open yet; None where it has those of the student or of the data.

    Args:
        config: Which teacher.

    Raises:
        TutelageError: if it cannot be reached, or has other classes than those it is given.
    """
    if config.kind == "several":
        return classes_of(replace(config, weights=config.members[0]))
    if config.kind == "network":
        return _named(config, LabelSpace(read_card(Path(config.weights)).classes))
    if config.kind == "server":
        return _named(config, _server(config).labels)
    return LabelSpace(read_names(config.classes)) if config.classes and config.kind == "function" else None


def _named(config: TeacherConfig, labels: LabelSpace) -> LabelSpace:
    return labels.renamed(read_classes(config.classes), who="the teacher") if config.classes else labels


def _server(config: TeacherConfig) -> HttpTeacher:
    secret = os.environ.get(AUTHORIZATION)
    return HttpTeacher(
        config.weights,
        batch_size=config.batch_size or 64,
        timeout=config.http.timeout,
        retries=config.http.retries,
        backoff=config.http.backoff,
        rate=config.http.rate,
        concurrency=config.http.concurrency,
        body=config.http.body,
        headers={"Authorization": secret} if secret else None,
    )


def _opened(
    config: TeacherConfig, data: Dataset, fabric: "Fabric", channels_last: bool, student: Network | None
) -> Teacher:
    name = config.weights
    if config.kind == "several":
        each = [replace(config, weights=name) for name in config.members]
        teachers = [_opened(one, data, fabric, channels_last, student) for one in each]
        return AveragingTeacher(teachers, mean=config.answers.average)
    if config.kind == "student":
        if student is None:
            raise ConfigError(f"the teacher {name!r} follows a student, and there is none here: name a network")
        return MOVING[name](student, batch_size=config.batch_size, autocast=fabric.autocast)
    if config.kind == "server":
        return _server(config)
    if config.kind == "function":
        labels = classes_of(config) or data.labels
        return CallableTeacher(
            import_function(name.removeprefix("python:")), labels=labels, name=name, gives=config.gives
        )
    network = load_network(Path(name))
    channels = network.card.image[0]
    if channels != data.channels:
        raise ShapeError(
            f"the teacher was trained on images with {channels} channels, {data.name} has "
            f"{data.channels}: use a teacher trained on such images"
        )
    network = retapped(network, config.taps, image=(channels, data.size, data.size)).to(fabric.device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    precision = fabric._precision.precision.removesuffix("-true").removesuffix("-mixed")
    return LiveTeacher(network, batch_size=config.batch_size, autocast=fabric.autocast, precision=precision)
