"""CKD: the student learns what the teacher says of the difference between samples.

Paper: Wilf, Xu, Liang, Obolenskiy, Fried, Morency. Comparative Knowledge Distillation. WACV 2025. arXiv 2311.02253
Code: alextxu/ckd@62ba741 (arXiv), alextxu/ckd@f8cc6bd (WACV)
Reads: logits
Labels: same
Trains: the student
Differs: groups inside the batch unless sampling="drawn"; both sides in one pass; white box as FitNet, VID, CC here
Results: benchmarks/cifar100/ckd.md
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.losses.ckd import contrast, contrast_gap
from tutelage.methods.adapters import FeatureLoss
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_labels, check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["CKD", "CKDConfig"]

_WHITE_BOX = {"cc": (0.02, "embedding"), "fitnet": (100.0, "stage2"), "vid": (1.0, "stage2")}
"""Weight (w_inter_defaults of train_student.py, alextxu/ckd@f8cc6bd) and role of the white-box forms."""


@dataclass(frozen=True, kw_only=True)
class CKDConfig(Summable):
    """Settings of CKD; the defaults are :meth:`ckd_arxiv`.

    Args:
        weight: Of the comparison with the teacher.
        label_weight: Of the label term, where it is a difference.
        k: Samples a group: k − ⌊k/2⌋ on the one side, ⌊k/2⌋ on the other.
        distance: Between two differences, ``"kl"`` or ``"mse"``.
        temperature: Softens the differences (KL only).
        label_term: ``"difference"`` of one-hot labels as in the code, or ``"ce"``, the cross-entropy of the paper's
            equation 4, which then needs a ``task_weight``.
        sampling: ``"batch"``: groups are drawn inside the batch, each image forwarded once; ``"drawn"``: the batch
            comes as groups side by side, as the authors draw them, positives first.
        groups: Drawn a batch; ``None``: as many as samples, so that each sample is in exactly k.
        all_pairs: Compare every pair of the batch instead (k = 2 and MSE only), at the cost of one pass.
        comparator: What a group says: the ``"difference"`` of its sides, or the ablation's ``"sum"``, their mean, and
            ``"mixup"``, their mean weighted with λ uniform in (0, 1), one a step (``all_pairs``: the mean over λ).
        features: White box: the differences of features go through FitNet, VID or CC as well.
        features_weight: Of that term; ``None``: the authors', 100, 1 and 0.02. Their CC is another loss, the product
            of neighbouring rows' gaps; beside the kernel form here 0.02 weighs next to nothing.
        roles: The features of the white box, whose losses are added; none: ``stage2``, for CC ``embedding``.
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
    sampling: Literal["batch", "drawn"] = "batch"
    groups: int | None = None
    all_pairs: bool = False
    comparator: Literal["difference", "sum", "mixup"] = "difference"
    features: Literal["fitnet", "vid", "cc"] | None = None
    features_weight: float | None = None
    roles: tuple[str, ...] = ()
    center_bias: float = 0.0
    seed: int = 0
    task_weight: float = 0.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(
            weight=self.weight,
            label_weight=self.label_weight,
            features_weight=self.features_weight or 0.0,
            center_bias=self.center_bias,
            seed=self.seed,
            task_weight=self.task_weight,
        )
        for name, known in (
            ("distance", ("kl", "mse")),
            ("label_term", ("difference", "ce")),
            ("sampling", ("batch", "drawn")),
            ("comparator", ("difference", "sum", "mixup")),
            ("features", (None, *_WHITE_BOX)),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(map(str, known))}, got {getattr(self, name)!r}")
        if self.label_term == "ce" and self.task_weight == 0:
            raise ConfigError("label_term 'ce' needs a task_weight above 0, got 0: without it no label is seen")
        self._check_groups()
        if self.features is None and (self.features_weight is not None or self.roles):
            raise ConfigError("features_weight and roles belong to the white box, got features=None: set features too")

    def _check_groups(self) -> None:
        if self.k < 2:
            raise ConfigError(f"k must be at least 2, got {self.k}: a comparison needs two samples")
        if self.groups is not None and self.groups < 1:
            raise ConfigError(f"groups must be at least 1, got {self.groups}: leave it out for one a sample")
        if self.sampling == "drawn" and self.groups is not None:
            raise ConfigError(f"with sampling='drawn' the batch says how many groups, got {self.groups}: leave it out")
        if self.features is not None and self.groups == 1:
            raise ConfigError("features compare groups with each other, got groups=1: draw at least 2")
        if not self.all_pairs:
            return
        if self.k != 2 or self.distance != "mse":
            raise ConfigError(f"all_pairs needs k=2 and distance='mse', got k={self.k} and {self.distance!r}: set both")
        if self.sampling == "drawn":
            raise ConfigError("all_pairs compares samples, not the groups of sampling='drawn': set one of the two")
        if self.features is not None:
            raise ConfigError(f"features={self.features!r} compares groups, got all_pairs: set one of the two")

    @classmethod
    def ckd_arxiv(cls, *, sampling: Literal["batch", "drawn"] = "batch") -> "CKDConfig":
        """The first version: triples, KL at temperature 4 (62ba741).

        Args:
            sampling: Who forms the groups; the authors' way is ``"drawn"``.

        Example:
            >>> CKDConfig.ckd_arxiv() == CKDConfig()
            True
        """
        return cls(k=3, distance="kl", temperature=4.0, sampling=sampling)

    @classmethod
    def ckd_wacv(cls, *, sampling: Literal["batch", "drawn"] = "batch") -> "CKDConfig":
        """The published version: pairs, MSE (f8cc6bd); inside the batch every pair, the mean of drawn ones.

        Args:
            sampling: Who forms the pairs; the authors' way is ``"drawn"``.

        Example:
            >>> CKDConfig.ckd_wacv().all_pairs, CKDConfig.ckd_wacv(sampling="drawn").all_pairs
            (True, False)
        """
        return cls(k=2, distance="mse", sampling=sampling, all_pairs=sampling == "batch")

    def build(self, student: Shapes, teacher: Shapes) -> "CKD":
        """Make the module; the adapters of the white box fit the features.

        Raises:
            UnknownNameError: if a network has no such feature; names the nearest.
            ShapeError: if a feature is a map in one network and a vector in the other (FitNet, VID).
        """
        if self.features is None:
            return CKD(self, {})
        roles = self.roles or (_WHITE_BOX[self.features][1],)
        return CKD(self, {role: FeatureLoss(self.features, role, student, teacher) for role in roles})


class CKD(Method):
    """Comparative knowledge distillation.

    Groups inside a batch are a function of (seed, optimiser step) and of the order of the sample ids, so that every
    rank draws the same, a permuted batch gives the same groups, and a resumed run goes on as if it had not stopped.

    Args:
        config: Its settings.
        features: Losses of the white box by role; none without.
    """

    def __init__(self, config: CKDConfig, features: dict[str, nn.Module]) -> None:
        given = config.k if config.sampling == "drawn" else None
        super().__init__(
            Needs(
                labels=("same",),
                roles=tuple(features),
                compares_samples=True,
                at_least=config.k,
                group_size=given,
                labelled=True,
            )
        )
        self.config = config
        self.features = nn.ModuleList(features.values())
        self._step = 0

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``comparison`` and, as set, ``labels``, ``features`` and ``center``; ``mean_logit`` is only shown."""
        cfg = self.config
        terms = self._compare_all(student, teacher, batch) if cfg.all_pairs else self._compare(student, teacher, batch)
        if cfg.center_bias:
            gap = student.logits.float().mean(0) - teacher.logits.detach().float().mean(0)
            terms["center"] = Term(gap.square().mean(), cfg.center_bias)
        # Differences do not see the mean logit: it is written, so that a drift shows, and teaches nothing.
        terms["mean_logit"] = Term(student.logits.detach().float().mean(), 0.0)
        return terms

    def _compare_all(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        terms = {}
        for name, other, weight in self._compared(student, teacher, batch):
            gap = losses.all_pairs(student.logits, other, comparator=self.config.comparator)
            terms[name] = Term(gap.mean(), weight)
        return terms

    def _compare(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """:func:`tutelage.losses.comparative` and ``comparative_labels``, or their like with another comparator."""
        cfg, generator = self.config, self._generator()
        positives, negatives = self._groups(batch.ids, generator)
        sides = _sides(cfg.comparator, generator)

        def said(x: Tensor) -> Tensor:
            return contrast(x, positives, negatives, sides=sides)

        ours = said(student.logits)
        terms = {}
        for name, other, weight in self._compared(student, teacher, batch):
            gap = contrast_gap(ours, said(other), distance=cfg.distance, temperature=cfg.temperature)
            terms[name] = Term(gap.mean(), weight)
        if cfg.features is not None:
            weight = _WHITE_BOX[cfg.features][0] if cfg.features_weight is None else cfg.features_weight
            pairs = ((student.taps[role], teacher.taps[role].detach()) for role in self.needs.roles)
            gaps = [loss(said(s), said(t)) for loss, (s, t) in zip(self.features, pairs, strict=True)]
            terms["features"] = Term(torch.stack(gaps).sum(), weight)
        return terms

    def _compared(self, student: Outputs, teacher: Outputs, batch: Batch) -> Iterator[tuple[str, Tensor, float]]:
        """Name, what the student is compared with, and weight of each term; labels only where they have a weight."""
        cfg = self.config
        yield "comparison", teacher.logits.detach(), cfg.weight
        if cfg.label_term != "ce" and cfg.label_weight:
            yield "labels", _one_hot(batch.labels, student.logits), cfg.label_weight

    def _generator(self) -> torch.Generator:
        # torch's generator on the CPU reads the low 32 bits of its seed only, so the two are mixed into those
        # (2654435761: the prime next to 2³² divided by the golden ratio).
        return torch.Generator().manual_seed((self.config.seed * 2654435761 + self._step) % 2**32)

    def _groups(self, ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of the batch, ``(groups, k − ⌊k/2⌋)`` and ``(groups, ⌊k/2⌋)``, all of a group different."""
        n, k = len(ids), self.config.k
        if self.config.sampling == "batch":
            members = self._draw(ids, generator)
        elif n and n % k == 0:
            members = torch.arange(n, device=ids.device).view(-1, k)
        else:
            raise ShapeError(f"a batch of groups of k={k} must be a multiple of {k}, got {n}: choose such a batch size")
        if self.features and len(members) < 2:
            raise ShapeError(f"features compare groups with each other, got {len(members)} group: use a larger batch")
        return members[:, : k - k // 2], members[:, k - k // 2 :]

    def _draw(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Groups inside the batch, ``(groups, k)`` rows.

        A round puts the samples on a circle in random order and reads every one of its n places with the same
        k random offsets: one permutation makes n groups with each sample in k of them, without a sort a group.
        """
        n, cfg = len(ids), self.config
        if n < cfg.k:
            raise ShapeError(f"groups of k={cfg.k} need as many samples, got {n}: use a larger batch or a smaller k")
        wanted = cfg.groups or n
        places = torch.arange(n).unsqueeze(1)
        rounds = []
        for _ in range(-(-wanted // n)):
            circle = torch.randperm(n, generator=generator)
            offsets = torch.randperm(n, generator=generator)[: cfg.k]
            rounds.append(circle[(places + offsets) % n])
        return ids.argsort(stable=True)[torch.cat(rounds)[:wanted].to(ids.device)]

    def after_step(self, epoch: float) -> None:
        """The next step has other groups."""
        self._step += 1

    def get_extra_state(self) -> dict[str, Any]:
        """How many steps have drawn groups."""
        return {"step": self._step}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self._step = state["step"]


def _one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    check_labels(labels, logits)
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


def _sides(comparator: str, generator: torch.Generator) -> tuple[float, float]:
    """What positives and negatives count in a group's word."""
    if comparator == "mixup":
        share = float(torch.rand((), generator=generator, dtype=torch.float64))
        return share, 1 - share
    return {"difference": (1.0, -1.0), "sum": (0.5, 0.5)}[comparator]
