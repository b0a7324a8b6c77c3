"""Logit standardisation: rows of logits without their own mean and scale.

Letters: n samples, k classes.
Source: Sun, Ren, Li, Wang, Cao. Logit Standardization in Knowledge Distillation. CVPR 2024.
https://arxiv.org/abs/2403.01427
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.ops.precision import upcast
from tutelage.ops.units import unit_rows

__all__ = ["centred_units", "compared_logits", "standardize"]


def standardize(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    r"""Each row as z-scores: minus its mean, divided by its standard deviation.

    .. math:: \hat z_{ic} = (z_{ic} - \mu_i) / \sigma_i, \quad
              \sigma_i^2 = \tfrac{1}{k - 1} \textstyle\sum_c (z_{ic} - \mu_i)^2

    A divergence of such rows compares the shape of two answers and not their size: student and teacher each get a
    temperature of their own, σ times the one that is set. The authors' code adds 1e-7 to σ, which sends back a gradient
    of up to 1e7 for a row that is almost constant; here a row that is constant to the last bits is zero and sends back
    none. Two classes have z-scores of ±0.71 whatever the logits: only their order is left, and no gradient.

    Args:
        logits: class scores, one row a sample.

    Returns:
        Rows of mean zero and standard deviation one (the unbiased one, as in the authors' code); at least float32.

    Example:
        >>> standardize(torch.tensor([[1.0, 2.0, 3.0], [10.0, 30.0, 20.0], [5.0, 5.0, 5.0]]))
        tensor([[-1.0000,  0.0000,  1.0000],
                [-1.0000,  1.0000,  0.0000],
                [ 0.0000,  0.0000,  0.0000]])
    """
    rows, _ = centred_units(upcast(logits))
    return rows * math.sqrt(logits.shape[1] - 1)


def compared_logits(
    student: Float[Tensor, "n k"], teacher: Float[Tensor, "n k"], *, standardized: bool
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """The logits that a method compares: as they are, or both as z-scores.

    Args:
        student: class scores, one row a sample.
        teacher: of the same samples.
        standardized: Whether as z-scores.

    Returns:
        Those of the student, then those of the teacher.

    Example:
        >>> rows = torch.tensor([[1.0, 2.0, 3.0]])
        >>> compared_logits(rows, 5 * rows, standardized=True)[1]
        tensor([[-1.0000,  0.0000,  1.0000]])
    """
    return (standardize(student), standardize(teacher)) if standardized else (student, teacher)


def centred_units(x: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Bool[Tensor, " n"]]:
    """Rows of mean zero and length one, and which rows vary by more than their rounding.

    Args:
        x: one row a sample, in at least float32.

    Returns:
        The rows, zero with zero gradient where a row does not vary, and whether each does.

    Example:
        >>> rows, varies = centred_units(torch.tensor([[1.0, 3.0], [0.1, 0.1]]))
        >>> rows[0], varies
        (tensor([-0.7071,  0.7071]), tensor([ True, False]))
    """
    centred = x - x.mean(1, keepdim=True)
    size = x.detach().abs().amax(1)
    varies = centred.detach().abs().amax(1) > 8 * torch.finfo(x.dtype).eps * size
    return unit_rows(centred, varies), varies
