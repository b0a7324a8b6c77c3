"""Methods with settings as one word each, for tables of many: ``kd``, ``ckd:k=2,distance=mse``, ``kd+rkd``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tutelage.data import Mixing
from tutelage.engine import RunConfig, TeacherConfig
from tutelage.engine.codec import method_from
from tutelage.errors import ConfigError
from tutelage.methods import MethodConfig
from tutelage.recipes.methods import with_method
from tutelage.recipes.words import read_word

__all__ = ["ALONE", "Variant"]

ALONE = "ce"
"""The student alone: labels, no teacher."""

_OF_THE_RUN = ("mix", "batch_size", "images_per_class", "lr")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to teach a student.

    Args:
        name: As it was written.
        method: Its settings; None for labels alone.
        mix: Train on mixtures of images.
        batch_size: Images a step, where the method needs another than the others (a multiple of k for groups).
        images_per_class: Batches hold so many images of each of their classes.
        lr: Highest learning rate, where the method needs another.
    """

    name: str
    method: MethodConfig | None = None
    mix: Mixing | None = None
    batch_size: int | None = None
    images_per_class: int | None = None
    lr: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """Read ``NAME[:setting=value,…]``: settings of the method, or mix, batch_size, images_per_class and lr.

        The name may be a sum; the settings of its parts are then written ``kd+rkd:kd.temperature=2,rkd.angle=50``.

        Raises:
            ConfigError: if it is written otherwise, or a setting is unknown or has a wrong value.
            UnknownNameError: if there is no such method.

        Example:
            >>> variant = Variant.parse("kd:temperature=2,mix=cutmix")
            >>> variant.method.temperature, variant.mix.kind
            (2.0, 'cutmix')
            >>> Variant.parse("0.5*kd+rkd:rkd.angle=9").method.parts[1].angle
            9.0
            >>> Variant.parse("ce").method is None
            True
        """
        name, settings = read_word(text, "method")
        of_the_run: dict[str, Any] = {key: settings.pop(key) for key in _OF_THE_RUN if key in settings}
        if "mix" in of_the_run:
            of_the_run["mix"] = Mixing(kind=of_the_run["mix"])
        if name == ALONE and settings:
            raise ConfigError(f"labels alone have no setting {next(iter(settings))!r}: leave it out of {text!r}")
        method = None if name == ALONE else method_from(name, _nested(settings))
        return cls(name=text, method=method, **of_the_run)

    @property
    def folder(self) -> str:
        """Its name as part of the name of a directory."""
        return self.name.replace(":", ".").replace(",", ".").replace("/", "-").replace("*", "x")

    def applied(self, base: RunConfig, teacher: TeacherConfig) -> RunConfig:
        """The run that teaches so.

        Args:
            base: Everything else; its last stage is the one that changes.
            teacher: Left out for labels alone, and for methods without a teacher; one that learns from peers gets one
                of the student's model.
        """
        stage = base.stages[-1]
        optimizer = stage.optimizer if self.lr is None else replace(stage.optimizer, lr=self.lr)
        data = base.data if self.batch_size is None else replace(base.data, batch_size=self.batch_size)
        if self.images_per_class is not None:
            data = replace(data, images_per_class=self.images_per_class)
        stages = (*base.stages[:-1], replace(stage, mix=self.mix, optimizer=optimizer))
        return with_method(replace(base, data=data, stages=stages), self.method, teacher)


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of parts, written ``part.setting``, under their part.

    Example:
        >>> _nested({"kd.temperature": 2, "kd.weight": 1, "task_weight": 1})
        {'task_weight': 1, 'kd': {'temperature': 2, 'weight': 1}}
    """
    found: dict[str, Any] = {key: value for key, value in settings.items() if "." not in key}
    for key, value in settings.items():
        part, dot, setting = key.partition(".")
        if dot and part in settings:
            raise ConfigError(f"the settings of a part are written {part}.setting=value; got {part}={settings[part]!r}")
        if dot:
            found.setdefault(part, {})[setting] = value
    return found
