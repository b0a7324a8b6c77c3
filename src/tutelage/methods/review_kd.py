"""ReviewKD: every stage of the teacher reviews, through fusion modules, the student's same stage and all deeper ones.

Paper: Chen, Liu, Zhao, Jia. Distilling Knowledge via Knowledge Review. CVPR 2021. arXiv 2104.09044
Code: dvlab-research/ReviewKD@cede6ea
Reads: stage1, stage2, embedding
Labels: any
Trains: the student and the fusion modules
Differs: the teacher's features are what its taps give, in the zoo behind the ReLU; the warm-up advances by step
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tutelage import losses
from tutelage.methods.adapters import paired_shapes
from tutelage.methods.adapters.fusion import Fusion
from tutelage.methods.adapters.stages import shared_stages
from tutelage.methods.base import Needs, WarmingMethod
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["ReviewKD", "ReviewKDConfig"]


@dataclass(frozen=True, kw_only=True)
class ReviewKDConfig(Summable):
    """Settings of ReviewKD.

    Args:
        weight: Of the sum over the features. The authors set it for each pair: 5 for five of their eight on CIFAR-100
            and here; 8 for resnet32x4 → shufflenet_v2, 0.6 for resnet56 → resnet20, 1 for resnet110 → resnet32.
        max_channels: Most channels that fusion modules pass on; less where the student's last feature has less.
        warmup_epochs: The weight rises linearly over so many epochs (20 of the authors' 240).
        roles: The features, first to last, maps or vectors; none named: every stage that both networks have, and
            their embedding.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "review_kd"
    weight: float = 5.0
    max_channels: int = 512
    warmup_epochs: float = 20.0
    roles: tuple[str, ...] = ()
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(max_channels=self.max_channels)
        check_non_negative(weight=self.weight, warmup_epochs=self.warmup_epochs, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "ReviewKD":
        """Make the module; its fusion modules fit the features.

        Raises:
            ConfigError: if the networks share no stage and none is named.
            UnknownNameError: if one of them has no such feature; names the nearest.
            ShapeError: if a feature is of another kind in each, or neither map nor vector.
        """
        roles = self.roles
        if not roles:
            last = ("embedding",) if "embedding" in student and "embedding" in teacher else ()
            roles = (*shared_stages(self.name, student, teacher), *last)
        pairs = [paired_shapes(self.name, role, student, teacher) for role in roles]
        width = min(self.max_channels, pairs[-1][0][0])
        deepest = len(roles) - 1
        parts = [Fusion(ours[0], width, theirs[0], deeper=i < deepest) for i, (ours, theirs) in enumerate(pairs)]
        return ReviewKD(self, roles, parts)


class ReviewKD(WarmingMethod):
    """Knowledge review.

    Args:
        config: Its settings.
        roles: The features, first to last.
        parts: The fusion module of each.
    """

    def __init__(self, config: ReviewKDConfig, roles: tuple[str, ...], parts: list[Fusion]) -> None:
        # Through the batch norms of the fusion modules samples depend on each other.
        super().__init__(Needs(roles=roles, compares_samples=True, at_least=2))
        self.config = config
        self.parts = nn.ModuleList(parts)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``review``, the sum over the features, whose weight warms up."""
        cfg, gaps = self.config, []
        deeper: Tensor | None = None
        for role, part in zip(reversed(self.needs.roles), reversed(self.parts), strict=True):
            theirs = _as_map(teacher.taps[role])
            fused, deeper = part(_as_map(student.taps[role]), deeper, tuple(theirs.shape[2:]))
            gaps.append(losses.hierarchical_context(fused, theirs).mean())
        share = self.warmth(cfg.warmup_epochs)
        return {"review": Term(torch.stack(gaps).sum(), cfg.weight * share)}


def _as_map(x: Tensor) -> Tensor:
    """A vector is a map of one place."""
    return x[..., None, None] if x.dim() == 2 else x
