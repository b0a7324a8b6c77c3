"""Opens the bare teacher that a config names: a stored network, a server, a function, or a copy of the student."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tutelage.data import Dataset
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError, ShapeError
from tutelage.models import Network, load_network
from tutelage.models.checkpoint import retapped
from tutelage.models.resolver import import_function
from tutelage.teachers import (
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

__all__ = ["open_teacher"]

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
        TutelageError: if it cannot be opened, or does not take these images.
    """
    name = config.weights
    if config.kind == "student":
        if student is None:
            raise ConfigError(f"the teacher {name!r} follows a student, and there is none here: name a network")
        return MOVING[name](student, batch_size=config.batch_size, autocast=fabric.autocast)
    if config.kind == "server":
        secret = os.environ.get(AUTHORIZATION)
        return HttpTeacher(
            name,
            batch_size=config.batch_size or 64,
            timeout=config.http.timeout,
            retries=config.http.retries,
            backoff=config.http.backoff,
            rate=config.http.rate,
            concurrency=config.http.concurrency,
            body=config.http.body,
            headers={"Authorization": secret} if secret else None,
        )
    if config.kind == "function":
        return CallableTeacher(
            import_function(name.removeprefix("python:")), labels=data.labels, name=name, gives=config.gives
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
