"""IE-KD: one half of the student comes near to the teacher's factor, the other goes away from it.

Letters: n samples; the trailing dimensions are free, D numbers a sample in all.
Source: Huang et al. Revisiting Knowledge Distillation: An Inheritance and Exploration Framework. CVPR 2021.
https://arxiv.org/abs/2107.00181
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both
from tutelage.ops.units import unit_gap, unit_rows

__all__ = ["exploration", "inheritance"]

_EXPONENTS = {"l1": 1, "l2": 2}


def inheritance(
    student_factor: Float[Tensor, "n ..."],
    teacher_factor: Float[Tensor, "n ..."],
    *,
    distance: Literal["l1", "l2", "cosine"] = "l1",
) -> Float[Tensor, " n"]:
    r"""How far the factor of the inheriting half is from the teacher's.

    With both brought to length one, and p of 1 (``l1``) or 2 (``l2``):

    .. math:: \ell_i = \Big( \tfrac1D \sum_{j=1}^{D} |\hat s_{ij} - \hat t_{ij}|^p \Big)^{1/p}
              \qquad\text{or}\qquad \ell_i = 1 - \hat s_i \cdot \hat t_i \quad (\text{cosine})

    Args:
        student_factor: what an encoder makes of the student's inheriting half.
        teacher_factor: what the teacher's auto-encoder makes of its features, of the same shape; no gradient flows
            there.
        distance: ``l1`` in the paper.

    Returns:
        One loss per sample, zero where the factors point the same way, at most 2/√D (``l1``, ``l2``) or 2; at least
        float32. A factor of zeros has no direction: no gradient, and a cosine of zero.

    Raises:
        ShapeError: if the shapes differ or have no dimension beside the samples.
        ConfigError: if ``distance`` is another word.

    Example:
        >>> import torch
        >>> inheritance(torch.tensor([[3.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([1., 0.])
    """
    ours, theirs = _rows(student_factor, teacher_factor, distance)
    if distance == "cosine":
        return (1 - _cosine(ours, theirs)).clamp_min(0)  # rounding alone would take it below
    return unit_gap(ours, theirs, p=_EXPONENTS[distance])


def exploration(
    student_factor: Float[Tensor, "n ..."],
    teacher_factor: Float[Tensor, "n ..."],
    *,
    distance: Literal["l1", "l2", "cosine"] = "l1",
) -> Float[Tensor, " n"]:
    r"""What is minimised so that the factor of the exploring half leaves the teacher's.

    .. math:: \ell_i = -\Big( \tfrac1D \sum_{j=1}^{D} |\hat s_{ij} - \hat t_{ij}|^p \Big)^{1/p}
              \qquad\text{or}\qquad \ell_i = |\hat s_i \cdot \hat t_i| \quad (\text{cosine})

    Both are bounded below, so that exploration cannot run away: by -2/√D, and by 0.

    Args:
        student_factor: what an encoder makes of the student's exploring half.
        teacher_factor: what the teacher's auto-encoder makes of its features, of the same shape; no gradient flows
            there.
        distance: ``l1`` in the paper.

    Returns:
        One loss per sample, between -2/√D and 0 (``l1``, ``l2``), or 0 and 1; at least float32. Where the factors point
        the same way it has no gradient.

    Raises:
        ShapeError: if the shapes differ or have no dimension beside the samples.
        ConfigError: if ``distance`` is another word.

    Example:
        >>> import torch
        >>> exploration(torch.tensor([[3.0, 0.0], [-2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([-1., -1.])
    """
    ours, theirs = _rows(student_factor, teacher_factor, distance)
    return _cosine(ours, theirs).abs() if distance == "cosine" else -unit_gap(ours, theirs, p=_EXPONENTS[distance])


def _rows(student: Tensor, teacher: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    if distance not in (*_EXPONENTS, "cosine"):
        raise ConfigError(f"distance must be one of l1, l2, cosine, got {distance!r}")
    check_paired_shapes(student, teacher)
    ours, theirs = upcast_both(student, teacher.detach())
    return ours.flatten(1), theirs.flatten(1)


def _cosine(ours: Tensor, theirs: Tensor) -> Tensor:
    return (unit_rows(ours) * unit_rows(theirs)).sum(1)
