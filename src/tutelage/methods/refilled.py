"""REFILLED: a teacher of any classes; first its relations in the embedding, then its class centres as a classifier.

The first stage is :mod:`tutelage.methods.tuple_matching` without cross-entropy, the second this one; it begins with the
student of the first stage whose nearest class means are best.

Paper: Ye, Lu, Zhan. Generalized Knowledge Distillation via Relationship Matching. arXiv 2205.01915
Code: https://github.com/njulus/GKD@a37fc79; presets: njulus/ReFilled@be649aa (refilled2021), @c5e077f (cvpr2020)
Reads: logits; of the teacher: embedding
Labels: any
Trains: the student
Differs: centres of un-augmented images; the run's schedule in both stages; cvpr2020 mines all triplets, not one a pair
Results: benchmarks/digits/README.md
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.methods.base import Needs, Phase, WarmingMethod
from tutelage.methods.sum import Summable
from tutelage.methods.tuple_matching import TupleMatchingConfig
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.judges import class_means
from tutelage.ops.precision import upcast, upcast_both, without_autocast
from tutelage.ops.units import unit_rows
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["Refilled", "RefilledConfig"]


class _Preset(NamedTuple):
    """What the three releases of the authors differ in."""

    form: Literal["tuple", "triplet"]
    weight: float
    decay: float
    temperature: float
    student_temperature: float
    weighted: bool
    centres: Literal["global", "batch"]
    mean: Literal["samples", "entries"]


_PRESETS = {
    "tpami": _Preset("tuple", 1.0, 0.0, 1.0, 1.0, True, "global", "samples"),
    "refilled2021": _Preset("triplet", 100.0, 0.0, 2.0, 2.0, False, "global", "samples"),
    "cvpr2020": _Preset("triplet", 1000.0, 0.05, 2.0, 2.0, False, "batch", "entries"),
}


@dataclass(frozen=True, kw_only=True)
class RefilledConfig(Summable):
    """Settings of REFILLED; what is None is as in the preset.

    ==================== ===== ============ ========
    setting              tpami refilled2021 cvpr2020
    ==================== ===== ============ ========
    form                 tuple triplet      triplet
    weight               1     100          1000
    decay                0     0            0.05
    temperature          1     2            2
    student_temperature  1     2            2
    weighted             yes   no           no
    centres              global global      batch
    mean                 samples samples    entries
    ==================== ===== ============ ========

    Args:
        preset: Which release of the authors.
        stages: Both, or only one; the student learns from labels after the ``embedding`` in any case.
        form: Of the comparisons in the first stage.
        embedding: Weight of the first stage; by default 1000 for tuples and 500 for triplets.
        embedding_epochs: Its length as a share of the second stage's.
        margin: How much farther than the positive a negative may be.
        embedding_temperature: Of its distances.
        max_negatives: Most negatives of a tuple.
        fewest: Give every tuple as many negatives as the one with the fewest has.
        images_per_class: Least images a class in its batches, where the run says nothing else; None: as they come.
        weight: Of the second stage, beside the cross-entropy; 10 for fine-grained images (CUB-200).
        decay: The weight falls by exp(−decay) an epoch.
        temperature: Of the teacher's scores.
        student_temperature: Of the student's logits.
        weighted: Less weight for samples that the teacher's own classifier is unsure of.
        centres: Means of the classes in the training set, or in the batch.
        mean: Of the divergence: over samples, or over samples and the classes present.
        role: The teacher's embedding, and the student's.
        task_weight: Of the cross-entropy in the second stage.
    """

    name: ClassVar[str] = "refilled"
    preset: Literal["tpami", "refilled2021", "cvpr2020"] = "tpami"
    stages: Literal["both", "embedding", "classifier"] = "both"
    form: Literal["tuple", "triplet"] | None = None
    embedding: float | None = None
    embedding_epochs: float = 1.0
    margin: float = 0.2
    embedding_temperature: float = 4.0
    max_negatives: int = 32
    fewest: bool = False
    images_per_class: int | None = 2
    weight: float | None = None
    decay: float | None = None
    temperature: float | None = None
    student_temperature: float | None = None
    weighted: bool | None = None
    centres: Literal["global", "batch"] | None = None
    mean: Literal["samples", "entries"] | None = None
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("preset", tuple(_PRESETS)), ("stages", ("both", "embedding", "classifier"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        chosen = self.chosen
        for name, known in (("centres", ("global", "batch")), ("mean", ("samples", "entries"))):
            if getattr(chosen, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(chosen, name)!r}")
        check_positive(
            embedding_epochs=self.embedding_epochs,
            embedding_temperature=self.embedding_temperature,
            temperature=chosen.temperature,
            student_temperature=chosen.student_temperature,
        )
        check_non_negative(weight=chosen.weight, decay=chosen.decay, task_weight=self.task_weight)
        self._first_stage()

    @property
    def chosen(self) -> _Preset:
        """The settings of the preset, with what was given in their place."""
        preset = _PRESETS[self.preset]
        given = {name: getattr(self, name) for name in _Preset._fields}
        return preset._replace(**{name: value for name, value in given.items() if value is not None})

    @property
    def before(self) -> tuple[Phase, ...]:
        """The first stage, where it is wanted."""
        if self.stages == "classifier":
            return ()
        return (Phase(name="embedding", method=self._first_stage(), epochs=self.embedding_epochs),)

    def _first_stage(self) -> TupleMatchingConfig:
        return TupleMatchingConfig(
            form=self.chosen.form,
            weight=self.embedding,
            margin=self.margin,
            temperature=self.embedding_temperature,
            max_negatives=self.max_negatives,
            fewest=self.fewest,
            images_per_class=self.images_per_class,
            role=self.role,
            task_weight=0.0,
        )

    def build(self, student: Shapes, teacher: Shapes) -> "Refilled":
        """Make the module; its centres have a row for each of the student's classes."""
        return Refilled(self, classes=student["logits"][0], width=math.prod(teacher[self.role]))


class Refilled(WarmingMethod):
    """The second stage: local distillation from class centres.

    Args:
        config: Its settings.
        classes: Of the student.
        width: Of the teacher's embedding.
    """

    centres: Tensor

    def __init__(self, config: RefilledConfig, *, classes: int, width: int) -> None:
        # The classes present and the spread of the teacher's doubt are those of the whole batch.
        super().__init__(Needs(roles=(config.role,), compares_samples=True))
        self.config = config
        self.chosen = config.chosen
        self.register_buffer("centres", torch.zeros(classes, width))

    @torch.no_grad()
    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Take the centres of the training set, where they are wanted."""
        if self.config.stages == "embedding" or self.chosen.centres == "batch":
            return
        sums = torch.zeros_like(self.centres)
        for batch in batches():
            answer = teacher(batch)
            known = slice(None) if answer.known is None else answer.known
            features = upcast(answer.taps[self.config.role][known].flatten(1))
            sums.index_add_(0, batch.labels[known], features.to(sums.dtype))
        self.centres.copy_(unit_rows(sums))  # a sum has the direction of the mean

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``classifier``, of which the first stage alone has none."""
        cfg, features = self.chosen, teacher.taps[self.config.role].detach().flatten(1)
        if self.config.stages == "embedding":
            return {}
        present = torch.zeros_like(self.centres[:, 0], dtype=torch.bool).index_fill_(0, batch.labels, True)
        weights = losses.adaptive_weights(teacher.logits)
        loss = losses.local_classifier(
            student.logits,
            self._scores(features, batch.labels),
            present,
            weights if cfg.weighted else torch.ones_like(weights),
            temperature=cfg.temperature,
            student_temperature=cfg.student_temperature,
        )
        value = loss.mean() / present.sum() if cfg.mean == "entries" else loss.mean()
        return {"classifier": Term(value, cfg.weight * math.exp(-cfg.decay * int(self.epoch)))}

    def _scores(self, features: Tensor, labels: Tensor) -> Tensor:
        rows, centres = upcast_both(features, self.centres)
        if self.chosen.centres == "batch":
            centres = unit_rows(class_means(rows, labels, len(self.centres)))
        with without_autocast(rows):
            return rows @ centres.T
