"""NST: the channels of the student are selective for the places that those of the teacher are selective for.

Letters: n samples, s and t channels of student and teacher; the trailing dimensions are places.
Source: Huang, Wang. Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. 2017.
https://arxiv.org/abs/1707.01219
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_maps
from tutelage.ops.precision import upcast_both
from tutelage.ops.products import products
from tutelage.ops.units import unit_rows

__all__ = ["nst"]


def nst(student: Float[Tensor, "n s *places"], teacher: Float[Tensor, "n t *places"]) -> Float[Tensor, " n"]:
    r"""Squared maximum mean discrepancy between the channels of student and teacher, by the kernel (x · y)².

    A channel is its map over the places, brought to length one:

    .. math:: \ell_i = \frac1{s^2} \sum_{a,b} (f_a \cdot f_b)^2 + \frac1{t^2} \sum_{a,b} (g_a \cdot g_b)^2
              - \frac2{st} \sum_{a,b} (f_a \cdot g_b)^2
              = \Big\| \tfrac1s \sum_a f_a f_a^\top - \tfrac1t \sum_a g_a g_a^\top \Big\|_F^2

    whichever of the two forms is cheaper: the first where there are more places than channels. A channel that is zero
    everywhere adds nothing to either sum.

    Args:
        student: map of the student, channels first.
        teacher: map of the teacher for the same samples and places, with any number of channels; no gradient flows
            there.

    Returns:
        One loss per sample, zero where the sets of channels are the same, at most 2; not below zero by more than the
        rounding; at least float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the two are not maps of the same samples and places.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> nst(3 * teacher.flip(1), teacher), nst(torch.tensor([[[1.0, 1.0]]]), teacher)
        (tensor([0.]), tensor([0.5000]))
    """
    check_paired_maps(student, teacher)
    f, g = (_channels(x) for x in upcast_both(student, teacher.detach()))
    s, t, places = f.shape[1], g.shape[1], f.shape[2]
    if places * (s + t) <= s * s + t * t + s * t:
        gap = products(f.mT, f.mT) / s - products(g.mT, g.mT) / t
        return gap.square().sum((1, 2))
    return _kernel(f, f) + _kernel(g, g) - 2 * _kernel(f, g)


def _channels(x: Float[Tensor, "n c *places"]) -> Float[Tensor, "n c p"]:
    """Maps of length one; zero where there is nothing."""
    x = x.flatten(2)
    return unit_rows(x.flatten(0, 1)).reshape(x.shape)


def _kernel(a: Float[Tensor, "n s p"], b: Float[Tensor, "n t p"]) -> Float[Tensor, " n"]:
    return products(a, b).square().mean((1, 2))
