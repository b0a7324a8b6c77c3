"""Classifiers of few-shot episodes that tune the network itself, one episode after the other.

Letters: m images of the pool, n support images, b of a batch, w ways, s shots, q queries, d features, k classes of the
teacher.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, count, islice, repeat
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from tutelage.data.episodes import Episodes
from tutelage.data.samplers import UniformSampler
from tutelage.engine.episode_heads import Tuning, units
from tutelage.errors import ConfigError
from tutelage.losses.refilled import adaptive_weights, local_classifier
from tutelage.losses.tuple_matching import matched_tuples
from tutelage.models import Network
from tutelage.ops.judges import class_means
from tutelage.ops.precision import upcast, without_autocast
from tutelage.types import Outputs

__all__ = ["TUNED", "EpisodeTuner"]

TUNED = ("finetune", "refilled")


class EpisodeTuner:
    """Tunes a network on the support images of an episode and tells the ways of its queries.

    The network begins every episode as it was given. It stays in eval mode: five images have no statistics that a
    batch norm could use. A linear classifier on its embedding, of unit length, begins as the class means of the support
    (imprinted) and trains with it.

    ``finetune`` minimises the cross-entropy. ``refilled`` first matches the tuples of the support images to the
    teacher's (with two shots or more), then adds the distillation from the teacher's local classifier, whose centres
    are those of the support:

    .. math:: \\mathcal{L} = \\mathrm{CE}(z, y) + \\lambda \\, \\tfrac1n \\sum_i w_i \\,
              \\mathrm{KL}(\\mathrm{softmax}(\\varphi_T(x_i) \\cdot c) \\,\\|\\, \\mathrm{softmax}(z_i))

    All images are shown un-augmented, so that the teacher's answers are look-ups.

    Args:
        network: On its device; it is changed.
        images: ``(m, c, h, w)`` pixels of the pool, there as well.
        teacher: Embedding ``(m, d)`` and logits ``(m, k)`` of the same images; only ``refilled`` needs them.
        tuning: Steps and rates.
        autocast: Makes the context it computes in.
    """

    def __init__(
        self,
        network: Network,
        images: UInt8[Tensor, "m c h w"],
        teacher: Outputs | None,
        tuning: Tuning,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._network, self._images, self._teacher = network.eval().requires_grad_(True), images, teacher
        self._tuning, self._autocast = tuning, autocast
        self._start = {name: value.clone() for name, value in network.state_dict().items()}

    def __call__(self, classifier: str, episode: Episodes) -> Int64[Tensor, "w q"]:
        """The way that each query of one episode is told to be.

        Args:
            classifier: ``finetune`` or ``refilled``.
            episode: Without the leading dimension.

        Raises:
            ConfigError: if ``refilled`` has no teacher.
        """
        support, query = (rows.to(self._images.device) for rows in (episode.support, episode.query))
        rows, (ways, shots) = support.flatten(), support.shape
        labels = torch.arange(ways, device=rows.device).repeat_interleave(shots)
        self._network.load_state_dict(self._start)
        guide = None
        if classifier == "refilled":
            if self._teacher is None:
                raise ConfigError("the classifier refilled learns from a teacher, and there is none: name one")
            if shots > 1:
                self._match(rows, labels)
            guide = self._local(rows, labels, ways)
        weight, bias = self._fit(rows, labels, ways, guide)
        with torch.no_grad():
            return (self._features(query.flatten()) @ weight.T + bias).argmax(1).view(query.shape)

    def _features(self, rows: Tensor) -> Tensor:
        """Embeddings ``(n, d)`` of length one."""
        with self._autocast():
            taps = self._network(self._images[rows]).taps
        return units(upcast(taps["embedding"].flatten(1)))

    def _match(self, rows: Tensor, labels: Tensor) -> None:
        """REFILLED's first stage on the support."""
        tuning, theirs = self._tuning, _known(self._teacher).taps["embedding"][rows]
        optimizer = self._optimizer([])
        for of in self._batches(len(rows), tuning.matching_steps):
            optimizer.zero_grad()
            gaps = matched_tuples(self._features(rows[of]), theirs[of], labels[of])
            torch.autograd.backward(tuning.matching_weight * gaps.mean())
            optimizer.step()

    def _local(self, rows: Tensor, labels: Tensor, ways: int) -> tuple[Tensor, Tensor]:
        """The teacher's scores ``(n, w)`` of the support images by its own centres of them, and their weights."""
        teacher = _known(self._teacher)
        theirs = teacher.taps["embedding"][rows]
        with without_autocast(theirs):
            scores = theirs @ units(class_means(theirs, labels, ways)).T
        return scores, adaptive_weights(teacher.logits[rows])

    def _fit(
        self, rows: Tensor, labels: Tensor, ways: int, guide: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Classifier and network on the support; weight ``(w, d)`` and bias ``(w,)`` of the classifier."""
        tuning = self._tuning
        with torch.no_grad():
            weight = tuning.scale * units(class_means(self._features(rows), labels, ways))
        weight, bias = weight.requires_grad_(), torch.zeros_like(weight[:, 0]).requires_grad_()
        present = torch.ones_like(bias, dtype=torch.bool)
        optimizer = self._optimizer([weight, bias])
        for of in self._batches(len(rows), tuning.steps):
            optimizer.zero_grad()
            logits = self._features(rows[of]) @ weight.T + bias
            loss = F.cross_entropy(logits, labels[of])
            if guide is not None:
                scores, weights = guide[0][of], guide[1][of]
                gap = local_classifier(logits, scores, present, weights, temperature=tuning.temperature)
                loss = loss + tuning.distillation * gap.mean()
            torch.autograd.backward(loss)
            optimizer.step()
        return weight, bias

    def _batches(self, images: int, steps: int) -> Iterator[Int64[Tensor, " b"]]:
        """Places of the support images that each step sees: all of them, or a batch after the other in random order."""
        size, device = self._tuning.batch_size, self._images.device
        if images <= size:
            return repeat(torch.arange(images, device=device), steps)
        sampler = UniformSampler(torch.arange(images), batch_size=size, seed=0)
        return islice(chain.from_iterable(sampler.epoch(epoch).to(device) for epoch in count()), steps)

    def _optimizer(self, head: list[Tensor]) -> torch.optim.SGD:
        tuning = self._tuning
        groups: list[dict[str, Any]] = [{"params": list(self._network.parameters())}]
        if head:
            groups.append({"params": head, "lr": tuning.head_lr})
        return torch.optim.SGD(groups, lr=tuning.lr, momentum=0.9, weight_decay=tuning.weight_decay)


def _known(teacher: Outputs | None) -> Outputs:
    if teacher is None:
        raise ConfigError("the classifier refilled learns from a teacher, and there is none: name one")
    return teacher
