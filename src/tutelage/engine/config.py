"""A run as data: frozen dataclasses that a recipe fills and ``config.json`` keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tutelage.data import Mixing
from tutelage.data.protocols import ProtocolConfig, Standard
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.errors import ConfigError
from tutelage.methods import MethodConfig, is_taught, learns_from_peers, phases_of
from tutelage.ops.checks import check_non_negative, check_positive

__all__ = [
    "DataConfig",
    "EngineConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "StageConfig",
    "StudentConfig",
]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how they are served.

    Args:
        name: digits, cifar10, cifar100, folder:PATH or hf:NAME[:image:label].
        classes: Only these, in this order: positions in the order of the data (``0:50``), names joined by commas, or a
            file of names (``order.json:train``, ``order.json:20:70``); all by default. Images of others are left out.
        size: Side of the images the networks see; by default that of the data, 224 for photographs.
        validation: Share of the training images held out to choose the best epoch.
        protocol: Which images train, are held out, and may be sent to the teacher; None holds out ``validation`` of
            them and may send all others.
        batch_size: Images a step, over all ranks together.
        images_per_class: With a number M, batches hold batch_size / M classes with M images each.
        workers: Processes that read images from disk where the data set does not fit in memory.
    """

    name: str = "digits"
    classes: str | None = None
    size: int | None = None
    validation: float = 0.1
    protocol: ProtocolConfig | None = None
    batch_size: int = 64
    images_per_class: int | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ConfigError(f"validation is a share between 0 and 1, got {self.validation}")
        check_positive(batch_size=self.batch_size)
        check_non_negative(workers=self.workers)
        if self.images_per_class is not None and (self.images_per_class < 1 or self.batch_size % self.images_per_class):
            raise ConfigError(f"images_per_class must divide batch_size {self.batch_size}, got {self.images_per_class}")

    @property
    def division(self) -> ProtocolConfig:
        """The protocol that cuts the training images."""
        return self.protocol or Standard(validation=self.validation)


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The network that is trained.

    Args:
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory.
        pretrained: Start from the weights that timm or the hub has for it.
        taps: Role → module path, where the model's own roles do not fit.
    """

    model: str = "zoo:digits_small"
    pretrained: bool = False
    taps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the weights move.

    Args:
        name: Which optimiser.
        lr: Highest learning rate.
        momentum: Of sgd.
        nesterov: Look ahead, in sgd.
        weight_decay: On every weight.
        clip: Largest norm of the gradient, or None.
        accumulate: Batches a step.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip: float | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        check_positive(lr=self.lr, accumulate=self.accumulate)
        check_non_negative(weight_decay=self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if self.clip is not None:
            check_positive(clip=self.clip)
        if self.nesterov and self.name == "sgd" and self.momentum == 0:
            raise ConfigError("Nesterov momentum needs momentum > 0, got 0: set nesterov=False")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate moves.

    Args:
        name: Its shape. plateau multiplies the rate with gamma, and goes back to the best weights, whenever the
            validation accuracy has not risen for ``patience`` epochs; the ``drops``-th time ends the stage. In a
            stage that is not validated the rate stays.
        milestones: Of multistep: shares of the training after which the rate is multiplied by gamma
            (5/8, 3/4 and 7/8 are epochs 150, 180 and 210 of 240).
        gamma: What multistep and plateau multiply the rate with.
        patience: Of plateau, in epochs; 50 as in CKD (alextxu/ckd@f8cc6bd).
        drops: Of plateau; 3 as there.
        warmup: Share of the training over which the rate rises linearly from zero.
        floor: Of cosine and onecycle: the last rate as a share of the highest.
    """

    name: Literal["multistep", "cosine", "onecycle", "constant", "plateau"] = "onecycle"
    milestones: tuple[float, ...] = (0.625, 0.75, 0.875)
    gamma: float = 0.1
    patience: int = 50
    drops: int = 3
    warmup: float = 0.2
    floor: float = 0.0

    def __post_init__(self) -> None:
        check_non_negative(gamma=self.gamma, floor=self.floor)
        check_positive(patience=self.patience, drops=self.drops)
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is a share of the training in [0, 1), got {self.warmup}")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < m < 1 for m in self.milestones):
            raise ConfigError(f"milestones are rising shares of the training, got {self.milestones}")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """One stage: what is minimised, for how long, and how.

    The best epoch of a stage is the one of the highest validation accuracy, of the logits or of the nearest class
    mean, as its method wants it; where it wants neither, it is the last one.

    Args:
        name: Under which its metrics are written.
        epochs: Passes over the training set.
        method: Settings of a method, or None for labels alone.
        mix: Train on mixtures of images, with the labels and the answers to the single ones in the same shares.
        optimizer: How the weights move.
        schedule: How the learning rate moves.
        start: The student it begins with: as the stages before left it, or with the weights of the best epoch of the
            last one that trained it.
        phase: Whether the method of a later stage brought it along (:func:`tutelage.engine.staged`), and takes it away
            again where another method takes its place.
    """

    name: str = "student"
    epochs: int = 30
    method: MethodConfig | None = None
    mix: Mixing | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    start: Literal["last", "best"] = "last"
    phase: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"a stage needs at least one epoch, got {self.epochs}")


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where and how it is computed, and what is written.

    Args:
        accelerator: cpu, cuda, mps, or auto for the best there is.
        devices: Number of processes.
        precision: Of the networks; auto is bf16 where the hardware computes it natively.
        channels_last: Keep images and weights in that memory format.
        compile: Compile student and teacher.
        validate_every: Epochs between validations; the last epoch is always validated. Where a stage is judged by
            nearest class means, each costs a forward pass over the training images as well.
        log_every: Steps between two lines of metrics.
        save_every: Seconds between two checkpoints within an epoch; its end has one too, unless another is less than a
            second old.
        peers_on: Where the networks of a cohort are: all of them on every rank, for its part of a batch, or one a rank
            (as many devices as networks), for the whole batch.
        sinks: Where metrics go beside the metrics file.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    validate_every: int = 1
    log_every: int = 50
    save_every: float = 60.0
    peers_on: Literal["every-rank", "ranks"] = "every-rank"
    sinks: tuple[Literal["tensorboard", "wandb"], ...] = ()

    def __post_init__(self) -> None:
        check_positive(devices=self.devices, validate_every=self.validate_every, log_every=self.log_every)
        check_non_negative(save_every=self.save_every)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One whole run.

    Args:
        data: Which images.
        student: Which network is trained.
        teacher: Which network teaches, or None.
        peers: Networks that learn at the same time as the student, and from it as it does from them.
        stages: What happens, in order.
        engine: Where and how.
        seed: Of the initial weights, the order of samples and the views; the held-out images do not depend on it.
    """

    data: DataConfig = field(default_factory=DataConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    teacher: TeacherConfig | None = None
    peers: tuple[StudentConfig, ...] = ()
    stages: tuple[StageConfig, ...] = (StageConfig(),)
    engine: EngineConfig = field(default_factory=EngineConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"a seed is a whole number from 0 to 2^63 - 1, got {self.seed}")
        if not self.stages:
            raise ConfigError("a run needs at least one stage, got none")
        methods = [stage.method for stage in self.stages if stage.method]
        taught = [method.name for method in methods if is_taught(method)]
        if taught and self.teacher is None:
            raise ConfigError(f"the method {taught[0]!r} needs a teacher, and none is given: name one")
        if self.teacher is not None and not taught:
            raise ConfigError("a teacher is given but no method that would use it: name one, or teach without")
        self._check_phases()
        self._check_peers()

    def _check_phases(self) -> None:
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"two stages are called {twice[0]!r}: methods and metrics tell them apart by their names")
        for number, stage in enumerate(self.stages):
            if absent := [phase.name for phase in phases_of(stage.method) if phase.name not in names[:number]]:
                method = stage.method.name if stage.method else ""
                raise ConfigError(
                    f"the method {method!r} needs the stage {absent[0]!r} before its own: make its stages with "
                    f"tutelage.engine.staged"
                )

    def _check_peers(self) -> None:
        methods = [stage.method for stage in self.stages if stage.method]
        among = [method for method in methods if learns_from_peers(method)]
        if among and not self.peers:
            raise ConfigError(f"the method {among[0].name!r} learns from peers, and there are none: name one")
        if self.peers and (not among or len(among) < len(methods)):
            raise ConfigError("peers are given, and a stage has no method that learns from them: name one, such as dml")
        if self.peers and self.teacher is not None:
            raise ConfigError("a run has either a teacher or peers: leave out one of them")
        if self.engine.peers_on == "ranks":
            self._check_apart()

    def _check_apart(self) -> None:
        networks, engine = 1 + len(self.peers), self.engine
        if not self.peers or engine.devices != networks:
            raise ConfigError(
                f"one network a rank needs peers, and as many devices as networks; got {networks} networks and "
                f"{engine.devices} devices: set --engine.devices {max(networks, 2)}, or leave out --engine.peers-on"
            )
        if any(stage.optimizer.clip is not None for stage in self.stages):
            raise ConfigError("the gradient is clipped by its norm over all networks: no rank has it, leave out clip")

    @property
    def method(self) -> MethodConfig | None:
        """The method of the last stage that has one."""
        return next((stage.method for stage in reversed(self.stages) if stage.method), None)
