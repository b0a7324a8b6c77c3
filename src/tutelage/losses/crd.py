"""CRD: a sample's own row in the memory of the other network is told from those of other samples.

Letters: n samples, k negatives, d features.
Source: Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020. https://arxiv.org/abs/1910.10699
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_shapes, check_positive
from tutelage.ops.precision import upcast_both
from tutelage.ops.products import products
from tutelage.ops.units import unit_rows

__all__ = ["crd", "crd_normaliser"]


def crd(
    student: Float[Tensor, "n d"],
    teacher: Float[Tensor, "n d"],
    negatives: Float[Tensor, "k d"],
    *,
    present: Bool[Tensor, "n k"] | None = None,
    normaliser: Float[Tensor, ""] | None = None,
    temperature: float = 0.07,
) -> Float[Tensor, " n"]:
    r"""Noise-contrastive estimate: is this the teacher's feature of the same sample, or one of K others?

    With :math:`K_i` negatives of the sample i and z the logarithm of the normaliser:

    .. math:: \ell_i = \operatorname{softplus}(-u_i) + \sum_k \operatorname{softplus}(v_{ik}), \quad
              u_i = \cos(s_i, t_i) / \tau - z - \ln K_i, \quad v_{ik} = \cos(s_i, t_k) / \tau - z - \ln K_i

    This is −log h(s, t) − Σ log (1 − h(s, t_k)) of the paper with h = e^{cos/τ} / (e^{cos/τ} + K e^z), in the form that
    neither overflows nor needs the 1e-7 of the authors' code. The paper's number is the sum of both sides: exchange
    student and teacher for the other one.

    Args:
        student: one embedded sample a row, of any length (as those of the memories are, from 1e-18 to 1e18).
        teacher: what the memory of the teacher holds of the same samples; no gradient flows there.
        negatives: what it holds of other samples, the same for all; no gradient flows there.
        present: whose negative each is; ``None``: everyone's.
        normaliser: z, see :func:`crd_normaliser`; ``None``: that of these rows.
        temperature: τ; 0.07 in the paper.

    Returns:
        One loss per sample, at least float32; a sample without negatives counts as one of K = 1.

    Raises:
        ShapeError: if the rows are not of one width, or ``present`` does not fit them.
        ConfigError: if ``temperature`` is not above zero.

    Example:
        >>> own = torch.tensor([[1.0, 0.0]])
        >>> right, wrong = (crd(own, t, -t, normaliser=torch.tensor(0.0), temperature=1.0) for t in (own, -own))
        >>> right, wrong
        (tensor([0.6265]), tensor([2.6265]))
    """
    own, others, there = _scores(student, teacher, negatives, present, temperature)
    with torch.no_grad():
        level = _log_mean(own, others, there) if normaliser is None else normaliser
        count = there.sum(1).clamp_min(1).to(own.dtype)
        offset = level.to(own.dtype) + count.log()
    pushed = F.softplus(others - offset.unsqueeze(1))
    return F.softplus(offset - own) + torch.where(there, pushed, 0.0).sum(1)


@torch.no_grad()
def crd_normaliser(
    student: Float[Tensor, "n d"],
    teacher: Float[Tensor, "n d"],
    negatives: Float[Tensor, "k d"],
    *,
    present: Bool[Tensor, "n k"] | None = None,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    r"""The logarithm of the mean of exp(cos / τ) over all that is compared: the authors' Z, over the number of samples.

    They take it from the first batch and keep it.

    Args:
        student: as for :func:`crd`.
        teacher: as for :func:`crd`.
        negatives: as for :func:`crd`.
        present: as for :func:`crd`.
        temperature: as for :func:`crd`.

    Returns:
        One number, without gradient; at least float32.

    Raises:
        ShapeError: as :func:`crd`.
        ConfigError: as :func:`crd`.

    Example:
        >>> rows = torch.eye(2)
        >>> crd_normaliser(rows, rows, -rows, temperature=1.0)  # ln of the mean of e, 1/e, 1, of each row
        tensor(0.3090)
    """
    own, others, there = _scores(student, teacher, negatives, present, temperature)
    return _log_mean(own, others, there)


def _scores(
    student: Tensor, teacher: Tensor, negatives: Tensor, present: Tensor | None, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """cos / τ with the sample's own row ``(n,)``, with the negatives ``(n, k)``, and which of these count."""
    check_paired_shapes(student, teacher)
    check_positive(temperature=temperature)
    shape = (len(student), len(negatives))
    if student.dim() != 2 or negatives.dim() != 2 or negatives.shape[1] != student.shape[1]:
        raise ShapeError(
            f"students and negatives must be rows of one width, got {tuple(student.shape)} and "
            f"{tuple(negatives.shape)}: embed both networks in one space first"
        )
    if present is None:
        present = torch.ones(shape, dtype=torch.bool, device=student.device)
    if present.shape != shape or present.dtype != torch.bool:
        raise ShapeError(
            f"present must say of each sample and negative whether it counts, {shape} bool, got "
            f"{tuple(present.shape)} {present.dtype}: compare their labels"
        )
    ours, theirs = upcast_both(student, teacher.detach())
    unit, memory = unit_rows(ours), negatives.detach().to(ours.dtype)
    own = (unit * unit_rows(theirs)).sum(1)
    others = products(unit, memory) * _reciprocal_norms(memory)
    return own / temperature, others / temperature, present


def _reciprocal_norms(rows: Tensor) -> Tensor:
    """Zero for a row of zeros. To divide the rows instead takes as long as all the rest, at 16384 × 128."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    return torch.where(norms > 0, norms.reciprocal(), 0.0)


def _log_mean(own: Tensor, others: Tensor, there: Tensor) -> Tensor:
    count = there.sum() + own.numel()
    compared = torch.cat([own, others.masked_fill(~there, -torch.inf).flatten()])
    return compared.logsumexp(0) - count.to(own.dtype).log()
