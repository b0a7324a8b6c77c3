"""CKD: the student learns what the teacher says of the difference between samples.

Paper: Wilf, Xu, Liang, Obolenskiy, Fried, Morency. Comparative Knowledge Distillation. WACV 2025. arXiv 2311.02253
Code: alextxu/ckd@62ba741 (arXiv), alextxu/ckd@f8cc6bd (WACV)
Reads: logits
Labels: same
Trains: the student
Differs: groups are drawn inside the batch, each image forwarded once (the authors: 100,000 groups drawn once)
Results: benchmarks/digits/README.md
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods.base import Method, Needs
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["CKD", "CKDConfig"]


@dataclass(frozen=True, kw_only=True)
class CKDConfig:
    """Settings of CKD; the defaults are :meth:`arxiv`.

    Args:
        weight: Of the comparison with the teacher.
        label_weight: Of the label term, where it is a difference.
        k: Samples a group: k − ⌊k/2⌋ on the one side, ⌊k/2⌋ on the other.
        distance: Between two differences, ``"kl"`` or ``"mse"``.
        temperature: Softens the differences (KL only).
        label_term: ``"difference"`` of one-hot labels as in the code, or ``"ce"``, the cross-entropy of the paper's
            equation 4, which then needs a ``task_weight``.
        groups: Drawn a batch; ``None``: as many as samples, so that each sample is in exactly k.
        all_pairs: Compare every pair of the batch instead (k = 2 and MSE only), at the cost of one pass.
        comparator: What a pair says, with ``all_pairs``: ``"difference"``, or the ablation's ``"sum"``, ``"mixup"``.
        center_bias: Weight of the squared gap of the mean logits over the batch, which differences do not see.
        seed: Of the groups.
        task_weight: Of the cross-entropy; none in the authors' code.
    """

    name: ClassVar[str] = "ckd"
    weight: float = 1.0
    label_weight: float = 1.0
    k: int = 3
    distance: Literal["kl", "mse"] = "kl"
    temperature: float = 4.0
    label_term: Literal["difference", "ce"] = "difference"
    groups: int | None = None
    all_pairs: bool = False
    comparator: Literal["difference", "sum", "mixup"] = "difference"
    center_bias: float = 0.0
    seed: int = 0
    task_weight: float = 0.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(
            weight=self.weight,
            label_weight=self.label_weight,
            center_bias=self.center_bias,
            seed=self.seed,
            task_weight=self.task_weight,
        )
        if self.k < 2:
            raise ConfigError(f"k must be at least 2, got {self.k}: a comparison needs two samples")
        if self.groups is not None and self.groups < 1:
            raise ConfigError(f"groups must be at least 1, got {self.groups}: leave it out for one a sample")
        for name, known in (
            ("distance", ("kl", "mse")),
            ("label_term", ("difference", "ce")),
            ("comparator", ("difference", "sum", "mixup")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.label_term == "ce" and self.task_weight == 0:
            raise ConfigError("label_term 'ce' needs a task_weight above 0, got 0: without it no label is seen")
        if self.all_pairs and (self.k != 2 or self.distance != "mse"):
            raise ConfigError(f"all_pairs needs k=2 and distance='mse', got k={self.k} and {self.distance!r}: set both")
        if self.comparator != "difference" and not self.all_pairs:
            raise ConfigError(f"comparator {self.comparator!r} needs all_pairs=True: groups are compared by difference")

    @classmethod
    def ckd_arxiv(cls) -> "CKDConfig":
        """The first version: triples, KL at temperature 4 (62ba741).

        Example:
            >>> CKDConfig.ckd_arxiv() == CKDConfig()
            True
        """
        return cls(k=3, distance="kl", temperature=4.0)

    @classmethod
    def ckd_wacv(cls) -> "CKDConfig":
        """The published version: pairs, MSE (f8cc6bd); here every pair of the batch, the mean of drawn ones.

        Example:
            >>> CKDConfig.ckd_wacv().distance
            'mse'
        """
        return cls(k=2, distance="mse", all_pairs=True)

    def build(self, student: Shapes, teacher: Shapes) -> "CKD":
        """Make the module."""
        return CKD(self)


class CKD(Method):
    """Comparative knowledge distillation.

    Groups are a function of (seed, optimiser step) and of the order of the sample ids, so that every rank draws
    the same, a permuted batch gives the same groups, and a resumed run goes on as if it had not stopped.

    Args:
        config: Its settings.
    """

    def __init__(self, config: CKDConfig) -> None:
        super().__init__(Needs(labels=("same",), compares_samples=True))
        self.config = config
        self._step = 0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``comparison``, ``labels`` (with ``label_term="difference"``) and ``center`` (where weighted)."""
        cfg = self.config
        compared = self._compare_all if cfg.all_pairs else self._compare_groups
        comparison, labels = compared(student.logits, teacher.logits, batch)
        terms = {"comparison": Term(comparison.mean(), cfg.weight)}
        if cfg.label_term == "difference":
            terms["labels"] = Term(labels.mean(), cfg.label_weight)
        if cfg.center_bias:
            gap = student.logits.float().mean(0) - teacher.logits.detach().float().mean(0)
            terms["center"] = Term(gap.square().mean(), cfg.center_bias)
        return terms

    def _compare_all(self, student: Tensor, teacher: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        comparator = self.config.comparator
        truth = F.one_hot(batch.labels, student.shape[1]).float()
        return (
            losses.all_pairs(student, teacher, comparator=comparator),
            losses.all_pairs(student, truth, comparator=comparator),
        )

    def _compare_groups(self, student: Tensor, teacher: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        cfg = self.config
        positives, negatives = self._draw(batch.ids)
        return (
            losses.comparative(
                student, teacher, positives, negatives, distance=cfg.distance, temperature=cfg.temperature
            ),
            losses.comparative_labels(
                student, batch.labels, positives, negatives, distance=cfg.distance, temperature=cfg.temperature
            ),
        )

    def _draw(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the batch, ``(groups, k − ⌊k/2⌋)`` and ``(groups, ⌊k/2⌋)``, all of a group different.

        A round puts the samples on a circle in random order and reads every one of its n places with the same
        k random offsets: one permutation makes n groups with each sample in k of them, without a sort a group.
        """
        n, cfg = len(ids), self.config
        if n < cfg.k:
            raise ShapeError(f"groups of k={cfg.k} need as many samples, got {n}: use a larger batch or a smaller k")
        # torch's generator on the CPU reads the low 32 bits of its seed only, so the two are mixed into those
        # (2654435761: the prime next to 2³² divided by the golden ratio).
        generator = torch.Generator().manual_seed((cfg.seed * 2654435761 + self._step) % 2**32)
        wanted = cfg.groups or n
        places = torch.arange(n).unsqueeze(1)
        rounds = []
        for _ in range(-(-wanted // n)):
            circle = torch.randperm(n, generator=generator)
            offsets = torch.randperm(n, generator=generator)[: cfg.k]
            rounds.append(circle[(places + offsets) % n])
        drawn = torch.cat(rounds)[:wanted].to(ids.device)
        members = ids.argsort(stable=True)[drawn]
        side = cfg.k - cfg.k // 2
        return members[:, :side], members[:, side:]

    def after_step(self, epoch: float) -> None:
        """The next step has other groups."""
        self._step += 1

    def get_extra_state(self) -> dict[str, Any]:
        """How many steps have drawn groups."""
        return {"step": self._step}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._step = state["step"]
