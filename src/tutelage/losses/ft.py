"""FT: the student's factor points where the teacher's does.

Letters: n samples; the trailing dimensions are free.
Source: Kim, Park, Kwak. Paraphrasing Complex Network: Network Compression via Factor Transfer. NeurIPS 2018.
https://arxiv.org/abs/1802.04977
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both
from tutelage.ops.units import unit_gap

__all__ = ["factor_distance"]


def factor_distance(
    student_factor: Float[Tensor, "n ..."], teacher_factor: Float[Tensor, "n ..."], *, p: float | int = 1
) -> Float[Tensor, " n"]:
    r"""Mean gap between the factors, each brought to length one.

    .. math:: \ell_i = \Big( \tfrac1D \sum_{j=1}^{D} |\hat s_{ij} - \hat t_{ij}|^p \Big)^{1/p}, \qquad
              \hat s_i = s_i / \|s_i\|_2

    It shrinks with the size of a factor: for p up to 2 it is at most :math:`2 / \sqrt D`. A factor of zeros has no
    direction and stays zero, without gradient.

    Args:
        student_factor: what the student's translator makes of its features.
        teacher_factor: what the teacher's paraphraser makes of its own, of the same shape; no gradient flows there.
        p: exponent; 1 in the paper and in the code of IE-KD. (That code takes the root for p = 2 over the whole
            batch, this one for each sample; for p = 1 they are the same.)

    Returns:
        One loss per sample, zero where the factors point the same way; at least float32. The mean is the loss of the
        paper.

    Raises:
        ShapeError: if the shapes differ or have no dimension beside the samples.
        ConfigError: if ``p`` is below 1.

    Example:
        >>> import torch
        >>> factor_distance(torch.tensor([[3.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        tensor([1., 0.])
    """
    if not p >= 1:
        raise ConfigError(f"p must be at least 1, got {p}: below that it is no distance")
    check_paired_shapes(student_factor, teacher_factor)
    ours, theirs = upcast_both(student_factor, teacher_factor.detach())
    return unit_gap(ours.flatten(1), theirs.flatten(1), p=p)
