"""All that a run needs, built and checked in its first second: what cannot work is refused before it starts."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tutelage.data import BalancedSampler, Dataset, Loader, Sampler, UniformSampler, open_dataset
from tutelage.engine.config import DataConfig, EngineConfig, RunConfig, StageConfig, TeacherConfig
from tutelage.engine.evaluation import Judge
from tutelage.engine.sinks import check_sinks
from tutelage.errors import ConfigError, ShapeError, TeacherError
from tutelage.methods import Method
from tutelage.models import ModelCard, build_network, load_network
from tutelage.models.checkpoint import retapped
from tutelage.teachers import LiveTeacher, Teacher
from tutelage.types import Shapes

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Session", "open_fabric"]


def open_fabric(config: EngineConfig) -> "Fabric":
    """Launch the processes of a run.

    Raises:
        ConfigError: if the accelerator is unknown or absent.
    """
    import lightning_fabric

    try:
        fabric = lightning_fabric.Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[_precision(config)],  # type: ignore[arg-type]
        )
    except (
        ImportError,
        ValueError,
        RuntimeError,
        lightning_fabric.utilities.exceptions.MisconfigurationException,
    ) as error:
        raise ConfigError(f"cannot compute on {config.accelerator!r} × {config.devices}: {error}") from error
    fabric.launch()
    return fabric


def _precision(config: EngineConfig) -> str:
    if config.precision != "auto":
        return config.precision
    if config.accelerator in ("cuda", "gpu", "auto") and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    # On a CPU bf16 pays where it is native (2-3 times fp32 with AVX-512); elsewhere it is emulated and slow.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32"


class Session:
    """The parts of one run, put together and checked.

    Args:
        config: The run.
        fabric: Launched.

    Raises:
        TutelageError: whatever is wrong with data, networks, teacher or method, before any training.
    """

    def __init__(self, config: RunConfig, fabric: "Fabric") -> None:
        self.config, self.fabric = config, fabric
        check_sinks(config.engine.sinks)
        self.data = open_dataset(config.data.name, size=config.data.size)
        self.judge = Judge(self.data, fabric, validation=config.data.validation)
        if not len(self.judge.ids["validation"]):
            raise ConfigError(
                f"a validation share of {config.data.validation} holds out none of the "
                f"{len(self.data.train)} training images: raise it"
            )
        self.sampler = _sampler(config.data, self.data, self.judge.ids["train"], config.seed)
        torch.manual_seed(config.seed)
        self.student = build_network(_student_card(config, self.data), pretrained=config.student.pretrained)
        shapes = self.student.shapes  # found by a dry run, so that a network that these images do not fit ends here
        if not any(weight.requires_grad for weight in self.student.parameters()):
            raise ConfigError(f"{config.student.model} has no weights that could be trained: unfreeze some")
        self.teacher: Teacher | None = None
        self.teacher_facts: dict[str, Any] | None = None
        if config.teacher is not None:
            self.teacher = self._open_teacher(config.teacher)
        self.methods = [self._build_method(stage, shapes) for stage in config.stages]
        self._connect()
        if fabric.global_rank:  # the same weights on every rank, but not the same units dropped
            torch.manual_seed(config.seed + fabric.global_rank)
        self._loader = Loader(
            self.data.train,
            self.sampler,
            self.data.views(seed=config.seed),
            device=fabric.device,
            workers=config.data.workers,
            rank=fabric.global_rank,
            num_ranks=fabric.world_size,
        )

    def loader(self) -> Loader:
        """Batches of this rank's part of the training set."""
        return self._loader

    def _open_teacher(self, config: TeacherConfig) -> Teacher:
        network = load_network(Path(config.weights))
        channels = network.card.image[0]
        if channels != self.data.channels:
            raise ShapeError(
                f"the teacher was trained on images with {channels} channels, {self.data.name} has "
                f"{self.data.channels}: use a teacher trained on such images"
            )
        image = (channels, self.data.size, self.data.size)
        network = retapped(network, config.taps, image=image).to(self.fabric.device)
        if self.config.engine.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher = LiveTeacher(network, batch_size=config.batch_size, autocast=self.fabric.autocast)
        self.teacher_facts = {
            "model": network.card.model,
            "parameters": network.num_parameters,
            "num_classes": len(network.labels),
            "fingerprint": teacher.fingerprint,
            "accuracy": {},
        }
        return teacher

    def _build_method(self, stage: StageConfig, shapes: Shapes) -> Method | None:
        config = stage.method
        if config is None or self.teacher is None:
            return None
        method = config.build(shapes, self.teacher.shapes)
        self.data.labels.require(self.teacher.labels, method.needs.labels, who=config.name)
        return method.to(self.fabric.device)

    def _connect(self) -> None:
        roles = sorted({role for method in self.methods if method for role in method.needs.roles})
        self.student.listen(roles)
        if self.teacher is not None:
            self.teacher.listen(roles)

    def check_teacher(self) -> None:
        """Measure the teacher on the validation split, and refuse one that is no better than chance.

        Better than chance is: above the share of the largest class by three standard errors.

        Raises:
            TeacherError: with both accuracies and what to do.
        """
        config, facts = self.config.teacher, self.teacher_facts
        if self.teacher is None or config is None or facts is None:
            return
        if self.data.labels.relation(self.teacher.labels) != "same":
            return  # it has no accuracy on these classes
        score = self.judge.score(self.teacher, "validation")
        self.teacher.calls = 0  # calls counts what the student was taught with
        facts["accuracy"]["validation"] = score.accuracy
        labels = self.judge.labels("validation")
        chance = labels.bincount().max().item() / len(labels)
        bar = chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))
        if score.accuracy <= bar and not config.allow_bad:
            raise TeacherError(
                f"the teacher classifies {score.accuracy:.1%} of the validation images rightly, and chance is "
                f"{chance:.1%}: check that its weights are the trained ones and its classes in the order of "
                f"{self.data.name}, or insist with --allow-bad-teacher"
            )


def _sampler(config: DataConfig, data: Dataset, ids: Tensor, seed: int) -> Sampler:
    if config.images_per_class is None:
        return UniformSampler(ids, batch_size=config.batch_size, seed=seed)
    return BalancedSampler(
        ids,
        data.train.labels[ids],
        classes_per_batch=config.batch_size // config.images_per_class,
        images_per_class=config.images_per_class,
        seed=seed,
    )


def _student_card(config: RunConfig, data: Dataset) -> ModelCard:
    return ModelCard(
        model=config.student.model,
        classes=data.labels.names,
        image=(data.channels, data.size, data.size),
        mean=data.mean,
        std=data.std,
        taps=config.student.taps,
    )
