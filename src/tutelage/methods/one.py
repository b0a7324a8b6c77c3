"""ONE: networks that learn at the same time all learn from the ensemble that they make, weighted by a gate.

Paper: Lan, Zhu, Gong. Knowledge Distillation by On-the-Fly Native Ensemble. NeurIPS 2018. arXiv 1806.04606
Code: the authors', Lan1991Xu/ONE_NeurIPS2018@54afde3 (cifar_one.py, loss/kl_loss.py, models/cifar/resnet.py)
Reads: logits; of all networks: embedding; no teacher
Labels: same
Trains: the networks, and a gate: a linear layer with a batch norm
Differs: whole networks and no shared trunk, so the gate reads the embeddings of all; targets without their 1e-7
Results: benchmarks/cifar100/README.md
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import UnknownNameError
from tutelage.methods.base import Needs, WarmingMethod
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["ONE", "Gate", "ONEConfig"]


@dataclass(frozen=True, kw_only=True)
class ONEConfig(Summable):
    """Settings of ONE.

    Args:
        weight: Of the divergence from the ensemble.
        temperature: Softens both distributions; 3 in the paper.
        warmup_epochs: Over which the weight w rises as w exp(−5 (1 − t)²), t from 0 to 1; the paper has no warm-up,
            the authors' scripts one of 80 epochs out of 300.
        role: The features that the gate reads; maps are averaged over their places.
        task_weight: Of the cross-entropies, that of each network and that of the ensemble.
    """

    name: ClassVar[str] = "one"
    teacher_free: ClassVar[bool] = True
    peers: ClassVar[bool] = True
    weight: float = 1.0
    temperature: float = 3.0
    warmup_epochs: float = 0.0
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature)
        check_non_negative(weight=self.weight, warmup_epochs=self.warmup_epochs, task_weight=self.task_weight)

    def build(self, student: Shapes, teacher: Shapes) -> "ONE":
        """Make the module for one that learns from the ensemble."""
        return ONE(self)

    def ensemble(self, networks: Sequence[Shapes]) -> "Gate":
        """Make the gate of these networks.

        Raises:
            UnknownNameError: if one of them has no such feature; names the nearest.
        """
        return Gate(self.role, networks)


class ONE(WarmingMethod):
    """On-the-fly native ensemble, seen by one of its networks.

    Args:
        config: Its settings.
    """

    def __init__(self, config: ONEConfig) -> None:
        super().__init__(Needs(labels=("same",), roles=(config.role,), teacher=False, peers=True))
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``ensemble``: KL(ensemble ‖ student)."""
        cfg = self.config
        loss = losses.kd(student.logits, teacher.logits, temperature=cfg.temperature)
        left = 1.0 - self.warmth(cfg.warmup_epochs)
        return {"ensemble": Term(loss.mean(), cfg.weight * math.exp(-5.0 * left**2))}


class Gate(nn.Module):
    """Weighs the networks for each sample: a linear layer on their features, batch norm, ReLU and softmax.

    It stands where the authors' does, but theirs reads the trunk that their branches share.

    Args:
        role: The feature.
        networks: The shapes of each network's outputs.

    Raises:
        UnknownNameError: if one of them has no such feature; names the nearest.

    Example:
        >>> shapes = {"logits": (2,), "embedding": (3,)}
        >>> gate = Gate("embedding", [shapes, shapes])
        >>> answer = Outputs(torch.zeros(4, 2), {"embedding": torch.zeros(4, 3)})
        >>> gate([answer, answer]).logits.shape
        torch.Size([4, 2])
    """

    def __init__(self, role: str, networks: Sequence[Shapes]) -> None:
        super().__init__()
        for shapes in networks:
            if role not in shapes:
                hint = f"Name its module path, as in --student.taps {role}=PATH"
                raise UnknownNameError("tap of a network", role, shapes, hint=hint)
        self.role, count = role, len(networks)
        width = sum(shapes[role][0] for shapes in networks)
        self.shares = nn.Sequential(nn.Linear(width, count), nn.BatchNorm1d(count), nn.ReLU(), nn.Softmax(1))

    def forward(self, answers: Sequence[Outputs]) -> Outputs:
        """What the networks say together, with gradient to all of them; no taps."""
        features = torch.cat([_pooled(answer.taps[self.role]) for answer in answers], 1)
        branches = torch.stack([answer.logits for answer in answers], 1)
        return Outputs(losses.native_ensemble(branches, self.shares(features)), {})


def _pooled(feature: Tensor) -> Tensor:
    """A row a sample: the mean over the places of a map."""
    return feature.flatten(2).mean(2) if feature.dim() > 2 else feature
