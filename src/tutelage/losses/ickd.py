"""IC-KD: a sample learns from the teacher's answers for its neighbours, of its own class and of others.

Letters: n samples, k neighbours, c classes.
Source: Zhu, Li, Wang. Rethinking Knowledge in Distillation: An In-context Sample Retrieval Perspective. 2025.
https://arxiv.org/abs/2501.07040
No code is public: the formulas are a reconstruction from the abstract. ``docs/theory/ickd.md`` derives what they do.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.checks import check_paired_logits, check_positive
from tutelage.ops.divergences import softened_kl
from tutelage.ops.precision import upcast, upcast_both, without_autocast
from tutelage.ops.units import unit_rows

__all__ = ["aggregate_context", "negative_in_context", "positive_in_context"]


def positive_in_context(
    student_logits: Float[Tensor, "n c"],
    context_logits: Float[Tensor, "n k c"],
    weights: Float[Tensor, "n k"],
    *,
    temperature: float = 4.0,
    aggregate: Literal["logit", "prob"] = "logit",
) -> Float[Tensor, " n"]:
    r"""PICD: divergence of the student from the teacher's aggregated neighbours of the same class.

    .. math:: \ell_i = \tau^2 \, \mathrm{KL}\!\left( \mathrm{softmax}(\bar z_i / \tau)
              \,\|\, \mathrm{softmax}(z^S_i / \tau) \right)

    with :math:`\bar z_i` from :func:`aggregate_context`. A sample whose weights are all zero has no neighbours (its
    class is too small): its loss and its gradient are zero. With one neighbour this is KD from that neighbour.

    Args:
        student_logits: class scores of the student.
        context_logits: the teacher's class scores of each sample's neighbours; no gradient flows there.
        weights: of the neighbours: not negative, one in sum, or all zero; none flows there either.
        temperature: τ, how much both are softened; 4 as in KD on CIFAR-100.
        aggregate: mean of the ``"logit"`` or of the ``"prob"`` (probabilities).

    Returns:
        One loss per sample, exactly zero where all neighbours have the student's logits; at least float32.

    Raises:
        ShapeError: if the logits do not belong together, or the weights are not one a neighbour and (checked on the
            CPU) as described.
        ConfigError: if the temperature is not above zero, or the aggregate unknown.

    Example:
        >>> context = torch.tensor([[[8.0, 0.0], [4.0, 4.0]]])
        >>> positive_in_context(torch.zeros(1, 2), context, torch.tensor([[1.0, 0.0]]))
        tensor([5.2450])
        >>> positive_in_context(torch.zeros(1, 2), context, torch.tensor([[0.5, 0.5]]))
        tensor([1.7751])
    """
    _check_context("context", context_logits, student_logits)
    target = aggregate_context(context_logits, weights, temperature=temperature, aggregate=aggregate)
    ours, theirs = upcast_both(student_logits, target)
    value = softened_kl(theirs, ours, temperature)
    return torch.where((weights > 0).any(1), value, 0.0)


def negative_in_context(
    student_logits: Float[Tensor, "n c"],
    positive_logits: Float[Tensor, "n c"],
    negative_logits: Float[Tensor, "n k c"],
    *,
    present: Bool[Tensor, "n k"] | None = None,
    temperature: float = 0.2,
    form: Literal["contrastive", "hinge"] = "contrastive",
    margin: float = 0.5,
) -> Float[Tensor, " n"]:
    r"""NICD: the student is more like its positive than like the teacher's neighbours of other classes.

    With s(a, b) the cosine of the logits, each minus its own mean over the classes, :math:`s^+_i` that of student
    and positive, :math:`s_{ij}` that of student and negative j:

    .. math:: \ell_i = -\log \frac{e^{s^+_i / \tau}}{e^{s^+_i / \tau} + \sum_j e^{s_{ij} / \tau}}
              \quad \text{or} \quad \tfrac1k \sum_j \max(0,\; m + s_{ij} - s^+_i)

    Both are bounded, by log(1 + k e^{2/τ}) and by m + 2; the plain form, minus a divergence from the negatives, has
    no lower bound. Where a row of logits is constant to the last bits it has no direction: its cosines are zero and
    send back no gradient. So a positive of zeros (from :func:`aggregate_context`, for a sample without one) leaves
    the negatives alone to repel.

    Args:
        student_logits: class scores of the student.
        positive_logits: what the student should be like, as from :func:`aggregate_context`; no gradient flows there.
        negative_logits: the teacher's class scores of each sample's neighbours of other classes; none there either.
            They are held once in at least float32 for the backward pass.
        present: which of the negatives exist; all by default. Those that do not may hold any numbers.
        temperature: τ of the contrast, in cosines; 0.1 to 0.5.
        form: ``"contrastive"`` or ``"hinge"``.
        margin: m, by which the hinge wants the positive to be closer.

    Returns:
        One loss per sample, not negative; zero for a sample without negatives; at least float32.

    Raises:
        ShapeError: if the logits do not belong together, or ``present`` is not one bool a negative.
        ConfigError: if the temperature or the margin is not above zero, or the form unknown.

    Example:
        >>> student, other = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[[0.0, 3.0, 0.0]]])
        >>> negative_in_context(student, student, other)  # cosines 1 and −½: log(1 + exp(−1.5 / 0.2))
        tensor([0.0006])
        >>> negative_in_context(student, student, student.unsqueeze(1), form="hinge")  # ½ + 1 − 1
        tensor([0.5000])
    """
    check_paired_logits(student_logits, positive_logits)
    _check_context("negative", negative_logits, student_logits)
    check_positive(temperature=temperature, margin=margin)
    present = _checked_present(present, negative_logits)
    ours, theirs = upcast_both(student_logits, positive_logits.detach())
    direction = _direction(upcast_both(ours, negative_logits[:0])[0])
    near = _cosines(direction, theirs.unsqueeze(1), present.new_ones(len(ours), 1))
    far = _cosines(direction, negative_logits.detach(), present)
    if form == "contrastive":
        scores = torch.cat([near, far.masked_fill(~present, -torch.inf)], dim=1) / temperature
        return scores.logsumexp(1) - scores[:, 0]
    if form == "hinge":
        excess = (margin + far - near).relu() * present
        return excess.sum(1) / present.sum(1).clamp(min=1)
    raise ConfigError(f"form must be 'contrastive' or 'hinge', got {form!r}")


def aggregate_context(
    context_logits: Float[Tensor, "n k c"],
    weights: Float[Tensor, "n k"],
    *,
    temperature: float = 4.0,
    aggregate: Literal["logit", "prob"] = "logit",
) -> Float[Tensor, "n c"]:
    r"""The logits that stand for all neighbours of a sample.

    .. math:: \bar z_i = \sum_j w_{ij} z_{ij} \quad \text{or} \quad
              \bar z_i = \tau \log \sum_j w_{ij} \, \mathrm{softmax}(z_{ij} / \tau) + \text{const}

    The first is a geometric mean of the softened distributions, made to sum to one, the second the arithmetic one.
    Both are computed as a neighbour's logits plus a mean of differences, so that equal neighbours give exactly
    their logits. Neighbours of weight zero may hold any numbers.

    Args:
        context_logits: class scores of each sample's neighbours; ``"logit"`` copies them once in at least float32,
            ``"prob"`` for a moment a second time.
        weights: of the neighbours: not negative, one in sum, or all zero. The last bits of the sum do not count.
        temperature: τ, for ``"prob"``.
        aggregate: mean of the ``"logit"`` or of the ``"prob"`` (probabilities).

    Returns:
        Logits without gradient in at least float32; zeros for a sample without neighbours.

    Raises:
        ShapeError: if the weights are not one a neighbour and (checked on the CPU) as described.
        ConfigError: if the temperature is not above zero, or the aggregate unknown.

    Example:
        >>> context = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])
        >>> weights = torch.tensor([[0.5, 0.5]])
        >>> aggregate_context(context, weights)
        tensor([[2., 2., 0.]])
        >>> aggregate_context(context, weights, temperature=1.0, aggregate="prob").softmax(1)
        tensor([[0.4912, 0.4912, 0.0177]])
    """
    _check_weights(weights, context_logits)
    check_positive(temperature=temperature)
    if aggregate not in ("logit", "prob"):
        raise ConfigError(f"aggregate must be 'logit' or 'prob', got {aggregate!r}")
    n, k, c = context_logits.shape
    with torch.no_grad(), without_autocast(context_logits):
        share, _ = upcast_both(weights, context_logits[:0])
        if k == 0:
            return share.new_zeros(n, c)
        total = share.sum(1, keepdim=True)
        share = share / torch.where(total > 0, total, 1.0)
        if aggregate == "logit":
            mean = _mean_logit(context_logits, share)
        else:
            mean = _mean_prob(context_logits, share, temperature)
        return torch.where(total > 0, mean, 0.0)


def _mean_logit(context: Float[Tensor, "n k c"], share: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
    """z_0 + Σ w_j (z_j − z_0), where 0 is the heaviest neighbour."""
    first = context[torch.arange(len(context), device=context.device), share.argmax(1)].to(share.dtype)
    first = torch.where(first.isfinite(), first, 0.0)  # −∞ less −∞ would be NaN
    gap = (context - first.unsqueeze(1)).masked_fill_((share == 0).unsqueeze(2), 0.0)
    return first + _weighted(share, gap)


def _mean_prob(context: Float[Tensor, "n k c"], share: Float[Tensor, "n k"], temperature: float) -> Tensor:
    """max g + τ log Σ w_j e^((g_j − max g) / τ), with g_j = τ log softmax(z_j / τ) up to one number a sample."""
    absent = (share == 0).unsqueeze(2)
    scale = (context / share.new_full((1,), temperature)).logsumexp(2, keepdim=True).masked_fill_(absent, -torch.inf)
    g = (context - temperature * (scale - scale.amax(1, keepdim=True))).masked_fill_(absent, -torch.inf)
    top = g.amax(1)
    g.sub_(torch.where(top.isfinite(), top, 0.0).unsqueeze(1)).div_(temperature).expm1_()
    # As 1 + Σ w_j (e^… − 1), exactly one for equal neighbours; below −1 only by rounding.
    return top + temperature * _weighted(share, g).clamp(min=-1.0).log1p()


def _weighted(share: Float[Tensor, "n k"], x: Float[Tensor, "n k c"]) -> Float[Tensor, "n c"]:
    return torch.bmm(share.unsqueeze(1), x).squeeze(1)


def _direction(x: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Rows less their mean, of length one; zero where they are constant to the last bits."""
    mean = x.mean(1, keepdim=True)
    centred = x - mean
    with torch.no_grad():
        varies = centred.abs().amax(1) > _rounding(mean.squeeze(1))
    return unit_rows(centred, varies)


def _cosines(
    direction: Float[Tensor, "n c"], theirs: Float[Tensor, "n k c"], present: Bool[Tensor, "n k"]
) -> Float[Tensor, "n k"]:
    """With the directions of ``theirs``, of which one copy is made and changed in place."""
    with torch.no_grad():
        mean = theirs.mean(2, keepdim=True, dtype=direction.dtype)
        x = theirs - mean
        largest = torch.maximum(x.amax(2), -x.amin(2))  # 12 times as fast as vector_norm of order infinity
        none = ~present | (largest <= _rounding(mean.squeeze(2)))
        x.masked_fill_(none.unsqueeze(2), 0.0).div_(torch.where(none, 1.0, largest).unsqueeze(2))
        length = torch.where(none, 1.0, torch.linalg.vector_norm(x, dim=2))
    product: Tensor = _Products.apply(x, direction)  # type: ignore[no-untyped-call]
    return product / length


def _rounding(mean: Tensor) -> Tensor:
    """What the entries of a constant row may differ by from their mean."""
    return 8 * torch.finfo(mean.dtype).eps * mean.abs()


class _Products(torch.autograd.Function):
    """Σ_c x_kc u_c with a gradient to u, in full precision even where the backward pass runs under autocast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, u: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        with without_autocast(x):
            return torch.bmm(x, u.unsqueeze(2)).squeeze(2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        with without_autocast(x):
            return None, _weighted(grad, x)


def _check_context(name: str, context: Tensor, student: Tensor) -> None:
    if context.dim() != 3 or not context.is_floating_point():
        raise ShapeError(
            f"{name} logits must be floating-point (samples, neighbours, classes), "
            f"got {tuple(context.shape)} {context.dtype}: look up the rows of each sample's neighbours"
        )
    if context.shape[1] == 0:
        context = context.new_zeros(len(context), 1, context.shape[2])
    check_paired_logits(student, context[:, 0])


def _check_weights(weights: Tensor, context: Tensor) -> None:
    _check_context("context", context, context.new_zeros(len(context), context.shape[-1]))
    if weights.shape != context.shape[:2] or not weights.is_floating_point() or weights.device != context.device:
        raise ShapeError(
            f"weights must be one floating-point number a neighbour on {context.device}, {tuple(context.shape[:2])}, "
            f"got {tuple(weights.shape)} {weights.dtype} on {weights.device}: give those of the same lookup"
        )
    # An accelerator would have to wait for the answer. A hundredth is what bfloat16 leaves of a sum of one.
    if weights.device.type == "cpu":
        total = upcast(weights).sum(1)
        if not bool(((weights >= 0).all(1) & (((total - 1).abs() <= 0.01) | (total == 0))).all()):
            raise ShapeError(
                f"weights must not be negative and sum to one (or to zero: no neighbours), got sums from "
                f"{float(total.min()):g} to {float(total.max()):g}: divide each row by its sum"
            )


def _checked_present(present: Tensor | None, negatives: Tensor) -> Tensor:
    shape = negatives.shape[:2]
    if present is None:
        return torch.ones(shape, dtype=torch.bool, device=negatives.device)
    if present.shape != shape or present.dtype != torch.bool or present.device != negatives.device:
        raise ShapeError(
            f"present must be one bool a negative on {negatives.device}, {tuple(shape)}, "
            f"got {tuple(present.shape)} {present.dtype} on {present.device}: give the mask of the same lookup"
        )
    return present
