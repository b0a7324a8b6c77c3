"""Classifiers of few-shot episodes on frozen embeddings, many episodes at once.

Letters: e episodes, w ways, s shots, q queries, d features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.ops.judges import euclidean_scores, ncm_scores
from tutelage.ops.units import unit_rows

__all__ = ["HEADS", "Tuning", "units"]

Support = Float[Tensor, "e w s d"]
Query = Float[Tensor, "e w q d"]
Told = Int64[Tensor, "e w q"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How what trains in an episode is trained: by SGD with momentum 0.9.

    No paper gives these numbers for REFILLED in episodes. A few of ``lr``, ``matching_weight`` and
    ``distillation`` were compared on digits, see docs/log.md; the others are usual values.

    Args:
        steps: Steps of the classifier, and of the network with it where that is tuned.
        lr: Learning rate of the network.
        head_lr: Learning rate of the classifier.
        weight_decay: Of both.
        batch_size: Support images of a step, where the network is tuned; all at once where there are no more.
        scale: The classifier's logits are this many times a cosine, when it begins.
        matching_steps: Steps of REFILLED's first stage, before the classifier's; none with one shot, as there are no
            two images of a class.
        matching_weight: Of the tuple loss in it; the paper has 1000 for training from nothing.
        distillation: λ, the weight of the local distillation beside the cross-entropy.
        temperature: Of the teacher's scores in it.
    """

    steps: int = 50
    lr: float = 0.01
    head_lr: float = 0.1
    weight_decay: float = 5e-4
    batch_size: int = 32
    scale: float = 10.0
    matching_steps: int = 20
    matching_weight: float = 10.0
    distillation: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive(
            steps=self.steps,
            lr=self.lr,
            head_lr=self.head_lr,
            batch_size=self.batch_size,
            scale=self.scale,
            temperature=self.temperature,
        )
        check_non_negative(
            weight_decay=self.weight_decay,
            matching_steps=self.matching_steps,
            matching_weight=self.matching_weight,
            distillation=self.distillation,
        )


def by_class_mean(support: Support, query: Query, tuning: Tuning) -> Told:
    """The way whose mean support feature has the highest cosine."""
    return _told(ncm_scores(query.flatten(1, 2), support.mean(2)), query)


def by_prototype(support: Support, query: Query, tuning: Tuning) -> Told:
    """The way whose mean support feature is the nearest, as ProtoNet has it."""
    return _told(euclidean_scores(query.flatten(1, 2), support.mean(2)), query)


def by_logistic_regression(support: Support, query: Query, tuning: Tuning) -> Told:
    """Logistic regression by scikit-learn, C = 1, on rows of unit length.

    Source: Tian, Wang, Krishnan, Tenenbaum, Isola. Rethinking few-shot image classification. ECCV 2020.
    https://arxiv.org/abs/2003.11539; settings of WangYueFt/rfs@9337f9b, eval/meta_eval.py.
    """
    from sklearn.linear_model import LogisticRegression

    ways, shots = support.shape[1:3]
    labels = torch.arange(ways).repeat_interleave(shots).numpy()
    told = []
    # scikit-learn computes on the host: once a block of episodes.
    for known, asked in zip(units(support).cpu().numpy(), units(query).cpu().numpy(), strict=True):
        model = LogisticRegression(max_iter=1000).fit(known.reshape(ways * shots, -1), labels)
        told.append(torch.from_numpy(model.predict(asked.reshape(-1, asked.shape[-1]))))
    return torch.stack(told).view(query.shape[:3]).to(query.device)


def by_tuned_head(support: Support, query: Query, tuning: Tuning) -> Told:
    """A linear classifier on rows of unit length that begins as the class means and is trained on the support.

    It begins as in Qi, Brown, Lowe. Low-shot learning with imprinted weights. CVPR 2018.
    https://arxiv.org/abs/1712.07136
    """
    episodes, ways, shots = support.shape[:3]
    rows, asked = units(support).flatten(1, 2), units(query).flatten(1, 2)
    labels = torch.arange(ways, device=rows.device).repeat_interleave(shots).repeat(episodes)
    weight = (tuning.scale * units(support.mean(2))).requires_grad_()
    bias = torch.zeros_like(weight[..., 0]).requires_grad_()
    optimizer = torch.optim.SGD([weight, bias], lr=tuning.head_lr, momentum=0.9, weight_decay=tuning.weight_decay)
    for _ in range(tuning.steps):
        optimizer.zero_grad()
        logits = rows @ weight.mT + bias.unsqueeze(1)
        # The sum over episodes of the means within one: no episode feels the others.
        torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), labels) * episodes)
        optimizer.step()
    with torch.no_grad():
        return _told(asked @ weight.mT + bias.unsqueeze(1), query)


HEADS: Mapping[str, Callable[[Support, Query, Tuning], Told]] = {
    "ncm": by_class_mean,
    "protonet": by_prototype,
    "logistic": by_logistic_regression,
    "head": by_tuned_head,
}
"""Support and query features → the way that each query is told to be."""


def units(rows: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """Rows of length one, whatever stands before them.

    Example:
        >>> units(torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]]))
        tensor([[[0.6000, 0.8000]],
        <BLANKLINE>
                [[0.0000, 1.0000]]])
    """
    return unit_rows(rows.flatten(0, -2)).view_as(rows)


def _told(scores: Float[Tensor, "e m w"], query: Query) -> Told:
    return scores.argmax(-1).view(query.shape[:3])
