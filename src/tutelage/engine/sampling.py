"""The batches that a stage needs: samples, groups of samples, or several images of each class."""

from torch import Tensor

from tutelage.data import BalancedSampler, Dataset, GroupSampler, Sampler, UniformSampler
from tutelage.engine.cohort import Lessons
from tutelage.engine.config import RunConfig
from tutelage.errors import ConfigError
from tutelage.methods import Method

__all__ = ["sampler_for"]


def sampler_for(config: RunConfig, data: Dataset, ids: Tensor, method: Method | Lessons | None) -> Sampler:
    """The sampler of a stage.

    Args:
        config: The run.
        data: The images.
        ids: Those that train.
        method: Of the stage; None for labels alone.

    Raises:
        ConfigError: if the batches cannot be formed as method and settings want them.
    """
    wanted, groups = config.data, method.needs.group_size if method else None
    if groups is not None:
        if wanted.images_per_class is not None:
            raise ConfigError("batches hold either groups or images_per_class images a class: leave out the latter")
        return GroupSampler(ids, k=groups, batch_size=wanted.batch_size, seed=config.seed)
    each = wanted.images_per_class
    if each is None and method is not None and method.needs.images_per_class is not None:
        classes = int((data.train.labels[ids].bincount() > 0).sum())
        each = _images_per_class(wanted.batch_size, least=method.needs.images_per_class, classes=classes)
    if each is None:
        return UniformSampler(ids, batch_size=wanted.batch_size, seed=config.seed)
    return BalancedSampler(
        ids,
        data.train.labels[ids],
        classes_per_batch=wanted.batch_size // each,
        images_per_class=each,
        seed=config.seed,
    )


def _images_per_class(batch_size: int, *, least: int, classes: int) -> int:
    """The fewest images a class that make a batch out of the classes there are."""
    for each in range(least, batch_size + 1):
        if batch_size % each == 0 and batch_size // each <= classes:
            return each
    raise ConfigError(
        f"batches must hold at least {least} images of each of their classes, which {batch_size} do not divide into: "
        f"choose a batch size that is a multiple of {least}"
    )
