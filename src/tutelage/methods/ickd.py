"""IC-KD: beside its own, a sample learns the teacher's answers to its neighbours in the teacher's feature space.

Paper: Zhu, Li, Wang. Rethinking Knowledge in Distillation: An In-context Sample Retrieval Perspective. arXiv 2501.07040
Code: none is public; the formulas are a reconstruction from the abstract (docs/theory/ickd.md)
Reads: logits; of the teacher: embedding
Labels: same
Trains: the student
Differs: every reconstructed choice is a setting; neighbours are searched once, in un-augmented images
Results: benchmarks/digits/README.md
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.memory import Bank, Graph, Neighbours, Rows, query
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.standardize import compared_logits
from tutelage.ops.units import unit_rows
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["ICKD", "ICKDConfig"]


@dataclass(frozen=True, kw_only=True)
class ICKDConfig(Summable):
    """Settings of IC-KD; defaults of the sheet that reconstructs it, since the paper's are not public.

    Args:
        kd: Weight of ordinary KD beside it.
        positive: Weight of PICD, the pull towards neighbours of the same class.
        negative: Weight of NICD, the push away from neighbours of other classes; 0.1 to 0.5.
        temperature: Softens KD and PICD.
        standardize: KD compares the logits of each as z-scores, without their own mean and scale (Sun et al. 2024).
        positives: Neighbours of the same class.
        negatives: Neighbours of other classes.
        retrieval: Neighbours are the nearest, or, to see whether that matters, drawn at random with equal weights.
        weights: Of the nearest positives: softmax of their similarity, or all the same.
        neighbour_temperature: Of that softmax.
        aggregate: The positives' mean in logits, or in probabilities.
        contrast: Form of NICD.
        negative_temperature: Of its contrastive form; 0.1 to 0.5.
        margin: Of its hinge form.
        warmup_epochs: Over which PICD and NICD come in linearly.
        source: Whose answers are the context: the teacher's; those of a peer that learns at the same time (online); or
            the student's own of the epoch before (teacher-free, where KD has no part).
        dynamic: Search the neighbours of the view at hand at every step, and refresh the bank with it; else they are
            searched once (teacher), or once an epoch (student, peer).
        momentum: Of a bank that is refreshed.
        role: The features in which neighbours are near.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "ickd"
    kd: float = 1.0
    positive: float = 1.0
    negative: float = 0.3
    temperature: float = 4.0
    standardize: bool = False
    positives: int = 8
    negatives: int = 16
    retrieval: Literal["nearest", "random"] = "nearest"
    weights: Literal["softmax", "uniform"] = "softmax"
    neighbour_temperature: float = 0.1
    aggregate: Literal["logit", "prob"] = "logit"
    contrast: Literal["contrastive", "hinge"] = "contrastive"
    negative_temperature: float = 0.2
    margin: float = 0.5
    warmup_epochs: float = 2.0
    source: Literal["teacher", "peer", "student"] = "teacher"
    dynamic: bool = False
    momentum: float = 0.0
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(
            temperature=self.temperature,
            neighbour_temperature=self.neighbour_temperature,
            negative_temperature=self.negative_temperature,
            margin=self.margin,
        )
        check_non_negative(
            kd=self.kd,
            positive=self.positive,
            negative=self.negative,
            positives=self.positives,
            negatives=self.negatives,
            warmup_epochs=self.warmup_epochs,
            task_weight=self.task_weight,
        )
        for name, known in (
            ("retrieval", ("nearest", "random")),
            ("weights", ("softmax", "uniform")),
            ("aggregate", ("logit", "prob")),
            ("contrast", ("contrastive", "hinge")),
            ("source", ("teacher", "peer", "student")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.positive and not self.positives:
            raise ConfigError("positives must be at least 1 where positive has a weight, got 0: set positive=0 as well")
        if self.negative and not self.negatives:
            raise ConfigError("negatives must be at least 1 where negative has a weight, got 0: set negative=0 as well")
        if self.dynamic and self.retrieval == "random":
            raise ConfigError("random neighbours are drawn once, not at every step: leave out dynamic")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {self.momentum}")

    @property
    def teacher_free(self) -> bool:
        """Whether it needs no teacher."""
        return self.source != "teacher"

    @property
    def peers(self) -> bool:
        """Whether it learns from networks that learn at the same time."""
        return self.source == "peer"

    def build(self, student: Shapes, teacher: Shapes) -> "ICKD":
        """Make the module."""
        return ICKD(self)


class ICKD(Method):
    """In-context knowledge distillation.

    The bank is filled before training by one pass over the un-augmented images. A bank of the student or of a peer is
    then written by each batch, so that no row is older than an epoch; neighbours are searched anew after each epoch.

    Args:
        config: Its settings.
    """

    def __init__(self, config: ICKDConfig) -> None:
        super().__init__(
            Needs(
                labels=("same",),
                roles=(config.role,),
                # A bank that batches write must see all of them on every rank.
                compares_samples=config.dynamic or config.teacher_free,
                teacher=not config.teacher_free,
                peers=config.peers,
            )
        )
        self.config = config
        self._memory: tuple[Bank, Graph | None] | None = None  # in a tuple: its sizes are known after preparation only
        self._step, self._epoch = 0, 0.0

    @torch.no_grad()
    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Fill the bank with what the teacher (or the untrained student) says of all images."""
        parts = []
        for batch in batches():
            answer = teacher(batch)
            known = slice(None) if answer.known is None else answer.known
            parts.append(
                (batch.ids[known], answer.taps[self.config.role][known], answer.logits[known], batch.labels[known])
            )
        ids, features, logits, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        bank = self._bank(int(ids.max()) + 1, features.flatten(1).shape[1], logits.shape[1]).to(ids.device)
        bank.update(ids, features.flatten(1).float(), logits.float(), labels)
        self._memory = bank, self._searched(bank)

    def _bank(self, size: int, width: int, classes: int) -> Bank:
        return Bank(size, features=width, classes=classes, dtype=torch.float16, momentum=self.config.momentum)

    def _searched(self, bank: Bank) -> Graph | None:
        cfg, rows = self.config, bank.rows()
        if cfg.dynamic:
            return None
        if cfg.retrieval == "random":  # the nearest by features that mean nothing
            drawn = torch.randn(len(rows.ids), 16, generator=torch.Generator().manual_seed(self._step))
            rows = rows._replace(features=unit_rows(drawn).to(rows.features))
        return Graph.build(rows, k_same=cfg.positives, k_other=cfg.negatives)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``kd``, ``positive`` and ``negative``, each where it has a weight."""
        cfg, terms = self.config, dict[str, Term]()
        if cfg.kd and cfg.source != "student":
            ours, theirs = compared_logits(student.logits, teacher.logits, standardized=cfg.standardize)
            taught = losses.kd(ours, theirs, temperature=cfg.temperature)
            terms["kd"] = Term(taught.mean(), cfg.kd)
        bank, found = self._neighbours(teacher, batch)
        share = self._shares(found)
        context = bank.read(found.same).logits
        others = bank.read(found.other).logits
        ramp = min(1.0, self._epoch / cfg.warmup_epochs) if cfg.warmup_epochs else 1.0
        if context is None or others is None:
            raise ConfigError("the bank keeps no logits: prepare the method first")
        if cfg.positive:
            pulled = losses.positive_in_context(
                student.logits, context, share, temperature=cfg.temperature, aggregate=cfg.aggregate
            )
            terms["positive"] = Term(pulled.mean(), cfg.positive * ramp)
        if cfg.negative:
            centre = losses.aggregate_context(context, share, temperature=cfg.temperature, aggregate=cfg.aggregate)
            pushed = losses.negative_in_context(
                student.logits,
                centre,
                others,
                present=found.other_mask,
                temperature=cfg.negative_temperature,
                form=cfg.contrast,
                margin=cfg.margin,
            )
            terms["negative"] = Term(pushed.mean(), cfg.negative * ramp)
        if cfg.dynamic or cfg.teacher_free:
            features = teacher.taps[cfg.role].detach().flatten(1).float()
            bank.update(batch.ids, features, teacher.logits.detach().float(), batch.labels, step=self._step)
        return terms

    def _neighbours(self, teacher: Outputs, batch: Batch) -> tuple[Bank, Neighbours]:
        if self._memory is None:
            raise ConfigError("IC-KD has no bank yet: prepare it with the teacher and the training images first")
        bank, graph = self._memory
        if bank.labels.device != batch.ids.device:  # after a resume
            self._memory = bank, graph = bank.to(batch.ids.device), graph and graph.to(batch.ids.device)
        if graph is not None:
            return bank, graph(batch.ids)
        features = unit_rows(teacher.taps[self.config.role].detach().flatten(1).float())
        asked = Rows(batch.ids, features, batch.labels)
        return bank, query(bank.rows(), asked, k_same=self.config.positives, k_other=self.config.negatives)

    def _shares(self, found: Neighbours) -> Tensor:
        """Weights of the positives, one in sum; all zero where a sample has none."""
        present = found.same_mask
        if self.config.weights == "uniform" or self.config.retrieval == "random":
            return present / present.sum(1, keepdim=True).clamp_min(1)
        score = found.same_similarity.masked_fill(~present, -torch.inf) / self.config.neighbour_temperature
        return score.softmax(1).nan_to_num(0.0)

    def after_step(self, epoch: float) -> None:
        """Warm up, and search the student's neighbours anew when an epoch has ended."""
        finished = int(epoch) > int(self._epoch)
        self._step, self._epoch = self._step + 1, epoch
        if finished and self.config.teacher_free and self._memory is not None:
            bank = self._memory[0]
            self._memory = bank, self._searched(bank)

    def get_extra_state(self) -> dict[str, Any]:
        """The bank, the neighbours, and how far it is."""
        bank, graph = self._memory or (None, None)
        return {
            "step": self._step,
            "epoch": self._epoch,
            "bank": bank.get_extra_state() if bank is not None else None,
            "graph": graph.get_extra_state() if graph is not None else None,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self._step, self._epoch, held = state["step"], state["epoch"], state["bank"]
        if held is None:
            self._memory = None
            return
        size, width = held["features"].shape
        bank = self._bank(size, width, held["logits"].shape[1])
        bank.set_extra_state(held)
        lists, graph = state["graph"], None
        if lists is not None:
            graph = Graph(Neighbours(*(lists[name] for name in Neighbours._fields)), lists["fingerprint"])
        self._memory = bank, graph
