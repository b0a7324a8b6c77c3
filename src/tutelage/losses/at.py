"""AT: the student attends to the places that the teacher attends to.

Letters: n samples, s and t channels of student and teacher; the trailing dimensions are places.
Source: Zagoruyko, Komodakis. Paying More Attention to Attention. ICLR 2017. https://arxiv.org/abs/1612.03928
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.ops.checks import check_paired_maps, check_positive
from tutelage.ops.precision import upcast_both
from tutelage.ops.units import unit_rows

__all__ = ["attention_transfer"]


def attention_transfer(
    student: Float[Tensor, "n s *places"], teacher: Float[Tensor, "n t *places"], *, power: float | int = 2
) -> Float[Tensor, " n"]:
    r"""Mean squared gap between the attention maps of student and teacher.

    The attention that a place gets is the mean over the channels of its activations to the power of p; over the P
    places of a sample it is brought to length one:

    .. math:: \ell_i = \tfrac1P \sum_{x=1}^{P} (\hat a^S_{ix} - \hat a^T_{ix})^2, \qquad
              a_{ix} = \operatorname{mean}_c |F_{icx}|^p, \quad \hat a_i = a_i / \|a_i\|_2

    The mean over the places, to which the weight of 1000 belongs, is that of the authors' code; their paper takes the
    norm. Attention is nowhere negative, so that the value is at most 2 / P.

    Args:
        student: map of the student, channels first.
        teacher: map of the teacher for the same samples and places, with any number of channels; no gradient flows
            there.
        power: p; 2 in the authors' code.

    Returns:
        One loss per sample, zero where both attend alike; at least float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the two are not maps of the same samples and places.
        ConfigError: if ``power`` is not above zero.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 2.0]]]])
        >>> attention_transfer(torch.tensor([[[[3.0, 0.0]]], [[[1.0, 0.0]]]]), teacher)
        tensor([0., 1.])
    """
    check_positive(power=power)
    check_paired_maps(student, teacher)
    ours, theirs = upcast_both(student, teacher.detach())
    return (_attention(ours, power) - _attention(theirs, power)).square().mean(1)


def _attention(x: Float[Tensor, "n c *places"], power: float | int) -> Float[Tensor, "n p"]:
    flat = x.flatten(2)
    # A map is first divided by its largest activation: the square of 1e20 is infinite in float32, that of 1e-30 zero.
    largest = flat.detach().abs().amax((1, 2), keepdim=True)
    flat = flat / largest.where(largest > 0, 1.0)
    return unit_rows((flat.square() if power == 2 else flat.abs().pow(power)).mean(1))
