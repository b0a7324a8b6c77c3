"""What can be asked of ``tutelage teach`` and ``distill``: every option is a field, its help the docstring."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from tutelage.engine import AnswersConfig, EngineConfig, HttpConfig, OptimizerConfig, ScheduleConfig

__all__ = ["Distill", "Teach"]


@dataclass(frozen=True, kw_only=True)
class Teach:
    """Train a network with labels alone: a teacher, or a student to compare with.

    Args:
        data: digits, cifar10, cifar100, folder:PATH, hf:NAME[:image_column:label_column], or the config.json of a
            run, whose settings then are the defaults.
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory (`tutelage list models`).
        taps: Features by role, where the model's own names do not fit: embedding=avgpool.
        out: Directory of the run; by default runs/ and a name made of data, method, model and seed.
        recipe: Where the defaults come from (`tutelage list recipes`).
        seed: Of initial weights, order and views.
        epochs: Passes over the training set.
        batch_size: Images a step.
        images_per_class: Batches hold this many images of each of their classes.
        classes: Only these classes, in this order: positions in the order of the data (0:50), names joined by commas,
            or a file of names, perhaps with a key and positions (order.json:train, order.json:20:70).
        size: Side of the images; by default that of the data, 224 for photographs.
        validation: Share of the training images held out to choose the best epoch.
        protocol: Which images train, are held out, and may be sent to a teacher (`tutelage list protocols`); its
            settings appear below under its name.
        mix: Train on mixtures of images.
        mix_alpha: Of the distribution of the shares.
        workers: Processes that read images which do not fit in memory.
        pretrained: Start from the weights that timm or the hub has.
    """

    data: Positional[str] = "digits"
    model: str = "zoo:digits_small"
    taps: Annotated[tuple[str, ...], arg(name="model.taps", metavar="ROLE=PATH")] = ()
    pretrained: bool = False
    out: Path | None = None
    recipe: str | None = None
    seed: int = 0
    epochs: int = 1
    batch_size: int = 1
    images_per_class: int | None = None
    classes: Annotated[str | None, arg(name="data.classes")] = None
    size: int | None = None
    validation: float = 0.1
    protocol: str | None = None
    mix: Literal["mixup", "mixup3", "cutmix"] | None = None
    mix_alpha: Annotated[float, arg(name="mix.alpha")] = 1.0
    workers: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(frozen=True, kw_only=True)
class Distill(Teach):
    """Distil a teacher into a student.

    Args:
        model: zoo:NAME, timm:NAME, hf:NAME or python:pkg.module:factory (`tutelage list models`).
        teacher: A run directory, a .safetensors file with its card beside it, the http:// address of a server (see
            `tutelage serve-teacher`), python:pkg.module:function, or ema or snapshot for a copy of the student. Or
            several runs or files with commas between them, whose mean answer teaches.
        teacher_gives: What a Python function answers with.
        teacher_classes: A file with the names of the teacher's classes, where its card has none or other names: a list
            in the order of its logits (JSON list, CSV of one column, text), or a map from its names to the student's
            (JSON object, CSV of two columns).
        shared_only: Where teacher and student do not have the same classes: let methods of logits compare those that
            both know.
        teacher_taps: Features by role, where the teacher's own names do not fit.
        teacher_batch_size: Largest number of images the teacher sees at once.
        allow_bad_teacher: Go on with a teacher that is no better than chance.
        paradigm: Whom the method learns from: offline is a teacher, online are peers that learn at the same time, self
            are the student's own earlier answers (for methods that need a teacher's, those of its moving average). By
            default what the method's settings say.
        peers: Networks that learn at the same time, for methods that learn from peers (dml): their models, or how many
            there are in all, of the student's model; by default 2.
        answers: What the teacher is asked, what that costs, and what becomes of its answers.
        http: How a server is asked.
        method: Which one (`tutelage list methods`), or several that add up: kd+rkd, 0.5*kd+rkd. The settings of each
            appear below under its name.
    """

    model: Annotated[str, arg(name="student")] = "zoo:digits_small"
    taps: Annotated[tuple[str, ...], arg(name="student.taps", metavar="ROLE=PATH")] = ()
    teacher: str | None = None
    teacher_gives: Annotated[Literal["logits", "probabilities"], arg(name="teacher.gives")] = "logits"
    teacher_classes: Annotated[str | None, arg(name="teacher.classes")] = None
    shared_only: bool = False
    teacher_taps: Annotated[tuple[str, ...], arg(name="teacher.taps", metavar="ROLE=PATH")] = ()
    teacher_batch_size: Annotated[int | None, arg(name="teacher.batch-size")] = None
    allow_bad_teacher: bool = False
    paradigm: Literal["offline", "online", "self"] | None = None
    peers: tuple[str, ...] = ()
    answers: Annotated[AnswersConfig, arg(name="teacher")] = field(default_factory=AnswersConfig)
    http: Annotated[HttpConfig, arg(name="teacher.http")] = field(default_factory=HttpConfig)
    method: str = "kd"
