"""The angles that the rows of a batch form, compared between two sets of distances.

Letters: n rows; a vertex, b and c the ends of its two sides; m vertices that are handled together.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.distances import reciprocal

__all__ = ["angle_gap"]

_CHUNK = {"cpu": 2**19}
"""Cosines that are handled at once. On the CPU 2 MiB of float32, so that two buffers stay in the caches:
forward and backward at n = 128, one thread, take 6.3 ms at 2^16, 4.3 at 2^19, 5.2 at 2^21."""

_CHUNK_ELSEWHERE = 2**24
"""On an accelerator 64 MiB a buffer: few launches, bounded memory."""


def angle_gap(ours: Float[Tensor, "n n"], theirs: Float[Tensor, "n n"], *, delta: float = 1.0) -> Float[Tensor, " n"]:
    r"""Huber gap between all angles of two sets of points, of which only the distances are needed.

    By the law of cosines the angle at the vertex a between b and c is

    .. math:: \cos_{abc} = \frac{d_{ab}^2 + d_{ac}^2 - d_{bc}^2}{2\, d_{ab}\, d_{ac}}, \qquad
              g_a = \frac{1}{n^2} \sum_{b,c} h_\delta(\cos_{abc} - \cos'_{abc})

    so that the cost, n³, does not depend on the number of features, and the error is that of the distances.
    A side that joins coincident rows has no angle: its cosine is zero, and no gradient flows through it.

    Memory is bounded: the vertices are handled in groups, nothing of size n³ is kept for the backward pass.
    ``theirs`` gets no gradient. A gradient that is itself to be differentiated (``create_graph=True``) is taken the
    plain way, with some twenty tensors of size n³.

    Args:
        ours: distances that the gradient is taken of.
        theirs: distances that they are compared with.
        delta: gap of cosines at which Huber's parabola becomes a line.

    Returns:
        One gap a vertex, in ``[0, 2]`` for ``delta`` = 1.

    Example:
        >>> right = torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]])
        >>> equal = 1.0 - torch.eye(3)
        >>> angle_gap(right, equal)  # at the first vertex twice (cos 90° − cos 60°)² / 2, over 9
        tensor([0.0278, 0.0011, 0.0100])
    """
    out: Tensor = _AngleGap.apply(ours, theirs, delta)  # type: ignore[no-untyped-call]
    return out


class _Side(NamedTuple):
    """What the cosines of one set of points are made of, each ``(n, n)``."""

    d: Tensor  # distances as sides of an angle: zero where the rows count as coincident
    r: Tensor  # their reciprocals: zero there too
    q: Tensor  # squared distances as the side opposite: as they are


def _side(d: Tensor) -> _Side:
    r = reciprocal(d)
    # A distance that is too small for a reciprocal must not meet the large reciprocal of another one.
    return _Side(torch.where(r > 0, d, 0.0), r, d.square())


class _AngleGap(torch.autograd.Function):
    """The gap and its analytic gradient.

    On the CPU the gradient for equal weights of all vertices (the gradient of the mean) is computed in the
    forward pass, while the cosines are in the cache; any other weights recompute them. An accelerator always
    recomputes: to compare the weights would make the host wait.
    """

    @staticmethod
    def forward(ctx: Any, ours: Tensor, theirs: Tensor, delta: float) -> Tensor:
        sides = _side(ours), _side(theirs)
        values = torch.empty_like(ours[0])
        early = ctx.needs_input_grad[0] and ours.device.type == "cpu"
        pull = _Pull(sides[0], torch.ones_like(values)) if early else None
        for rows, gap, spare in _slabs(*sides):
            slope = torch.clamp(gap, -2 * delta, 2 * delta, out=spare)
            # Huber's function of x with slope h is h · (x − h / 2), on the parabola and on the lines.
            values[rows] = gap.sub_(slope, alpha=0.5).mul_(slope).sum((1, 2))
            if pull is not None:
                pull.add(rows, slope, spare=gap)
        ctx.save_for_backward(ours, theirs, *([pull.result()] if pull is not None else []))
        ctx.delta = delta
        return values / (4 * values.numel() ** 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        ours, theirs, *early = ctx.saved_tensors
        if torch.is_grad_enabled():
            value = _plain(ours, theirs, ctx.delta)
            return torch.autograd.grad(value, ours, grad, create_graph=True)[0], None, None
        weights = grad / (2 * grad.numel() ** 2)
        if early and bool((weights == weights[0]).all()):
            return weights[0] * early[0], None, None
        sides = _side(ours), _side(theirs)
        pull = _Pull(sides[0], weights)
        for rows, gap, spare in _slabs(*sides):
            pull.add(rows, gap.clamp_(-2 * ctx.delta, 2 * ctx.delta), spare=spare)
        return pull.result(), None, None


def _plain(ours: Tensor, theirs: Tensor, delta: float) -> Tensor:
    """The gap by operations that autograd follows, all cosines at once."""
    cosines = []
    for d, r, q in (_side(ours), _side(theirs)):
        to_b, to_c = r.unsqueeze(2), r.unsqueeze(1)
        cosines.append((to_b * (d.unsqueeze(1) - to_c * q) + d.unsqueeze(2) * to_c) / 2)
    return F.huber_loss(cosines[0], cosines[1], reduction="none", delta=delta).mean((1, 2))


def _slabs(ours: _Side, theirs: _Side) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Twice the gap of the cosines for a group of vertices, ``(m, n, n)``, and a buffer of the same shape.

    Every step is elementwise: neither autocast nor TF32 can lower its precision. Both are treated alike, so that
    equal distances give a gap of exactly zero. The two tensors may be overwritten; they are used again.
    """
    n = ours.d.shape[0]
    m = max(1, min(n, _CHUNK.get(ours.d.device.type, _CHUNK_ELSEWHERE) // (n * n)))
    gaps, spares = ours.d.new_empty(m, n, n), ours.d.new_empty(m, n, n)
    for start in range(0, n, m):
        rows = slice(start, min(start + m, n))
        gap, spare = gaps[: rows.stop - start], spares[: rows.stop - start]
        _twice_cosines(ours, rows, out=gap)
        _twice_cosines(theirs, rows, out=spare)
        yield rows, gap.sub_(spare), spare


def _twice_cosines(side: _Side, rows: slice, *, out: Tensor) -> None:
    """d_ab r_ac + r_ab (d_ac − r_ac q_bc) for the vertices ``rows``, ``(m, n, n)``."""
    d, r = side.d[rows], side.r[rows]
    to_c = r.unsqueeze(1)
    torch.addcmul(d.unsqueeze(1), to_c, side.q, value=-1, out=out)
    out.mul_(r.unsqueeze(2)).addcmul_(d.unsqueeze(2), to_c)


class _Pull:
    """Sums the gradient by the distances, a group of vertices at a time.

    With the slope H of Huber's function and M = w_a H r_ab r_ac (symmetric in b and c):
    the sides of the vertex get r_ab Σ_c M (q_ab + q_bc − q_ac), the side opposite −d_bc Σ_a M.
    """

    def __init__(self, side: _Side, weights: Tensor) -> None:
        self.side = side
        self.weighted = weights.unsqueeze(1) * side.r
        self.adjacent = torch.empty_like(side.d)
        self.opposite = torch.zeros_like(side.d)

    def add(self, rows: slice, slope: Tensor, spare: Tensor) -> None:
        """Add the vertices ``rows``; overwrites ``slope`` and ``spare``."""
        d, r, q = (x[rows] for x in self.side)
        slope.mul_(self.weighted[rows].unsqueeze(2)).mul_(r.unsqueeze(1))
        self.opposite += slope.sum(0)
        torch.sub(self.side.q, q.unsqueeze(1), out=spare).mul_(slope)
        self.adjacent[rows] = d * slope.sum(2) + r * spare.sum(2)

    def result(self) -> Tensor:
        """The gradient, ``(n, n)``."""
        return self.adjacent - self.side.q.sqrt() * self.opposite
