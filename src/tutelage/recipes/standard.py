"""How long, how fast and with which batches: the settings that do not depend on the method."""

from collections.abc import Callable

from tutelage.data.protocols import FewTeacherCalls
from tutelage.engine import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StageConfig,
)
from tutelage.errors import UnknownNameError

__all__ = ["RECIPES", "ckd", "crd", "digits", "imagenet", "recipe_for", "short"]


def digits(data: str = "digits") -> RunConfig:
    """Seconds on one core: 40 epochs of 64, one cycle to 0.1, fp32 (the nets are too small for bf16 to pay)."""
    return RunConfig(
        data=DataConfig(name=data, batch_size=64),
        stages=(StageConfig(epochs=40, optimizer=OptimizerConfig(lr=0.1)),),
        engine=EngineConfig(accelerator="cpu", precision="32", channels_last=False, validate_every=2),
    )


def short(data: str = "cifar100") -> RunConfig:
    """A CIFAR table in hours on two cores: 20 epochs of 128, one cycle to 0.2, bf16 where it is native."""
    return RunConfig(
        data=DataConfig(name=data, batch_size=128),
        stages=(StageConfig(epochs=20, optimizer=OptimizerConfig(lr=0.2)),),
    )


def ckd(data: str = "cifar100") -> RunConfig:
    """Few teacher calls as CKD's authors train (alextxu/ckd@f8cc6bd): until the validation accuracy stands still.

    SGD 0.05 (they sweep 0.1, 0.05 and 0.025) with momentum 0.9 and weight decay 5e-4, batch 64, at most 1000 epochs;
    after 50 without gain back to the best weights at a tenth of the rate, and the third time is the end.
    """
    optimizer = OptimizerConfig(lr=0.05, nesterov=False)
    schedule = ScheduleConfig(name="plateau", warmup=0.0)
    return RunConfig(
        data=DataConfig(name=data, batch_size=64, protocol=FewTeacherCalls()),
        stages=(StageConfig(epochs=1000, optimizer=optimizer, schedule=schedule),),
    )


def crd(data: str = "cifar100") -> RunConfig:
    """The recipe of the literature on CIFAR-100 (CRD, RepDistiller, mdistiller).

    SGD 0.05 with momentum 0.9 and weight decay 5e-4, batch 64, 240 epochs, × 0.1 at 150, 180 and 210. The
    literature uses 0.01 for MobileNetV2 and the ShuffleNets: set ``--optimizer.lr 0.01`` for them.
    """
    optimizer = OptimizerConfig(lr=0.05, nesterov=False)
    schedule = ScheduleConfig(name="multistep", warmup=0.0)
    return RunConfig(
        data=DataConfig(name=data, batch_size=64),
        stages=(StageConfig(epochs=240, optimizer=optimizer, schedule=schedule),),
    )


def imagenet(data: str) -> RunConfig:
    """The recipe of the literature on ImageNet: batch 512, 0.2, 100 epochs, × 0.1 at 30, 60 and 90."""
    optimizer = OptimizerConfig(lr=0.2, nesterov=False, weight_decay=1e-4)
    schedule = ScheduleConfig(name="multistep", milestones=(0.3, 0.6, 0.9), warmup=0.0)
    return RunConfig(
        data=DataConfig(name=data, batch_size=512, workers=8),
        stages=(StageConfig(epochs=100, optimizer=optimizer, schedule=schedule),),
    )


RECIPES: dict[str, Callable[[str], RunConfig]] = {
    "ckd": ckd,
    "crd": crd,
    "digits": digits,
    "imagenet": imagenet,
    "short": short,
}


def recipe_for(data: str, name: str | None = None) -> RunConfig:
    """The named recipe for a data set; without a name, ``digits`` for digits and ``short`` for all others.

    Raises:
        UnknownNameError: if there is no such recipe.

    Example:
        >>> recipe_for("cifar100", "crd").stages[0].epochs
        240
    """
    name = name or ("digits" if data == "digits" else "short")
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name](data)
