"""Answers as rows of bytes: what is kept of an answer, and how it is written and read back.

Letters: n samples, k classes, b bytes of a row, m distinct samples.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tutelage.errors import ConfigError, ShapeError, TeacherError
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["Content", "distinct", "pick", "silence", "spread"]


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is kept of one answer, all numbers in half precision.

    Either all logits (and any features), or the ``top`` largest log-probabilities with their classes and the
    logarithm of what is left for all other classes together.

    Args:
        num_classes: Number of logits.
        taps: Role and shape, without the batch dimension, of each feature that is kept.
        top: How many of the largest probabilities are kept; ``None`` keeps all logits.

    Raises:
        ConfigError: if ``top`` does not lie in 1..``num_classes``, or a class number needs more than 16 bits.

    Example:
        >>> Content(num_classes=100).row_bytes, Content(num_classes=1000, top=5).row_bytes
        (200, 22)
        >>> content = Content(num_classes=3, top=1)
        >>> answer = content.decode(content.encode(Outputs(torch.tensor([[0.8, 0.1, 0.1]]).log(), {})))
        >>> answer.logits.exp().round(decimals=2)
        tensor([[0.8000, 0.1000, 0.1000]])
    """

    num_classes: int
    taps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    top: int | None = None

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ConfigError(f"an answer needs at least one class, got {self.num_classes}")
        if self.top is None:
            return
        if not 1 <= self.top <= self.num_classes:
            raise ConfigError(f"top must lie between 1 and the {self.num_classes} classes, got {self.top}")
        if self.num_classes > 2**16:
            raise ConfigError(
                f"the top answers are kept with class numbers below 65,536, got {self.num_classes} classes: "
                f"keep all logits"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one answer."""
        head = self.num_classes if self.top is None else 2 * self.top + 1
        return 2 * (head + sum(math.prod(shape) for _, shape in self.taps))

    def as_json(self) -> str:
        """The content in clear; equal contents give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Content":
        """What :meth:`as_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        taps = tuple((str(role), tuple(map(int, shape))) for role, shape in fields["taps"])
        return cls(num_classes=fields["num_classes"], taps=taps, top=fields["top"])

    def encode(self, outputs: Outputs) -> UInt8[Tensor, "n b"]:
        """One row an answer.

        Raises:
            ShapeError: if the logits or a feature have another shape, or a feature is missing.
            TeacherError: if a number is not finite in half precision.
        """
        logits = outputs.logits.detach()
        if logits.ndim != 2 or logits.shape[1] != self.num_classes:
            raise ShapeError(f"a teacher of {self.num_classes} classes answered logits of shape {tuple(logits.shape)}")
        head = [_half("logits", logits)] if self.top is None else self._top(logits.float().cpu(), self.top)
        parts = [*head, *(self._tap(outputs, role, shape) for role, shape in self.taps)]
        return torch.cat([part.contiguous().view(torch.uint8) for part in parts], 1)

    def _top(self, logits: Float[Tensor, "n k"], top: int) -> list[Tensor]:
        _half("logits", logits)
        values, classes = logits.log_softmax(1).topk(top, 1)
        # 1 - sum would lose a small tail: the sum of what is left is exact. 1e-30 stands for a tail of zero.
        tail = logits.softmax(1).scatter(1, classes, 0.0).sum(1, keepdim=True).clamp_min(1e-30).log()
        # uint16 of torch has few operations; int16 holds the same bits.
        return [_half("logits", values), _half("logits", tail), classes.to(torch.int16)]

    def _tap(self, outputs: Outputs, role: str, shape: tuple[int, ...]) -> Tensor:
        value = outputs.taps.get(role)
        if value is None or tuple(value.shape[1:]) != shape:
            came = "none" if value is None else f"one of shape {tuple(value.shape[1:])}"
            raise ShapeError(f"the cache keeps the feature {role!r} of shape {shape}; the teacher answered {came}")
        return _half(f"the feature {role!r}", value.detach().flatten(1))

    def decode(self, rows: UInt8[Tensor, "n b"]) -> Outputs:
        """The answers, in float32; classes outside the top share the tail equally."""
        halves, at = rows.view(torch.float16), self.num_classes
        if self.top is None:
            logits = halves[:, :at].float()
        else:
            at, rest = 2 * self.top + 1, self.num_classes - self.top
            tail = halves[:, self.top : self.top + 1].float() - math.log(max(rest, 1))
            classes = rows.view(torch.int16)[:, self.top + 1 : at].long() & 0xFFFF
            logits = tail.expand(-1, self.num_classes).scatter(1, classes, halves[:, : self.top].float())
        taps = {}
        for role, shape in self.taps:
            taps[role] = halves[:, at : at + math.prod(shape)].float().reshape(len(rows), *shape)
            at += math.prod(shape)
        return Outputs(logits, taps)


def _half(what: str, value: Tensor) -> Tensor:
    half = value.cpu().half()
    if not half.isfinite().all():
        raise TeacherError(
            f"the teacher answered {what} that are NaN or beyond ±65,504, the range of half precision: "
            f"look at the teacher; nothing of this answer was kept"
        )
    return half


def distinct(ids: Tensor, views: Tensor) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " n"]]:
    """Where each (id, view) stands first, in the order of (id, view), and which of them each sample is.

    Example:
        >>> distinct(torch.tensor([5, 3, 5]), torch.tensor([0, 1, 0]))
        (tensor([1, 0]), tensor([1, 0, 1]))
    """
    keys: npt.NDArray[np.void] = np.empty(len(ids), [("id", np.int64), ("view", np.int64)])
    keys["id"], keys["view"] = ids.cpu().numpy(), views.cpu().numpy()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return torch.from_numpy(first.astype(np.int64)), torch.from_numpy(which.astype(np.int64))


def pick(batch: Batch, index: Int64[Tensor, " m"]) -> Batch:
    """These samples of a batch.

    Example:
        >>> one = torch.tensor([7, 8, 9])
        >>> pick(Batch(one, one, one, one), torch.tensor([2])).ids
        tensor([9])
    """
    parts: Iterable[Tensor] = (part.index_select(0, index.to(part.device)) for part in batch)
    return Batch(*parts)


def silence(batch: Batch, shapes: Shapes, roles: Iterable[str]) -> Outputs:
    """No answer to any sample of a batch.

    Example:
        >>> one = torch.tensor([7, 8])
        >>> silence(Batch(one, one, one, one), {"logits": (3,)}, []).known
        tensor([False, False])
    """
    n, device = len(batch.ids), batch.images.device
    logits, *taps = (torch.zeros(n, *shapes[role], device=device) for role in ("logits", *roles))
    return Outputs(logits, dict(zip(roles, taps, strict=True)), torch.zeros(n, dtype=torch.bool, device=device))


def spread(answer: Outputs, source: Int64[Tensor, " n"], known: Bool[Tensor, " n"]) -> Outputs:
    """Row ``source`` of an answer for each sample, zero where it is not known.

    Example:
        >>> answer = Outputs(torch.tensor([[1.0], [2.0]]), {})
        >>> spread(answer, torch.tensor([1, 0, 1]), torch.tensor([True, False, True])).logits.flatten()
        tensor([2., 0., 2.])
    """

    def rows(value: Tensor) -> Tensor:
        mask = known.view(-1, *[1] * (value.ndim - 1))
        return torch.where(mask, value[source], torch.zeros((), dtype=value.dtype, device=value.device))

    return Outputs(rows(answer.logits), {role: rows(value) for role, value in answer.taps.items()}, known)
