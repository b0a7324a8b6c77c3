"""FSP: from one layer to the next the student's channels go together as the teacher's do.

Letters: n samples, a and b channels of the lower and the upper layer; the trailing dimensions are places.
Source: Yim, Joo, Bae, Kim. A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer
Learning. CVPR 2017. https://doi.org/10.1109/CVPR.2017.754
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast_both
from tutelage.ops.products import products

__all__ = ["fsp"]

Layers = tuple[Tensor, Tensor]
"""The maps of the lower and the upper layer of one network."""


def fsp(student: Layers, teacher: Layers) -> Float[Tensor, " n"]:
    r"""Mean squared gap between the flows of student and teacher from one layer to another.

    The flow of a network is the matrix of the products of every channel of the lower layer with every channel of the
    upper one, as a mean over the P places:

    .. math:: \ell_i = \frac1{ab} \big\| G^S_i - G^T_i \big\|_F^2, \qquad
              (G_i)_{kl} = \tfrac1P \sum_{x=1}^{P} F^{lower}_{ikx} F^{upper}_{ilx}

    The mean over the entries is that of RepDistiller; the paper takes the sum.

    Args:
        student: two maps of the student, ``(n, a, ...)`` and ``(n, b, ...)``, of the same places.
        teacher: two maps of the teacher for the same samples, with as many channels; their places may be others than
            the student's. No gradient flows there.

    Returns:
        One loss per sample, zero where the flows are equal; at least float32. The mean is the loss of the paper.

    Raises:
        ShapeError: if the layers of a network have different places, or the networks different channels.

    Example:
        >>> import torch
        >>> lower, upper = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[4.0, 2.0], [0.0, 6.0]]])
        >>> fsp((lower, upper), (lower, upper)), fsp((lower, upper), (0 * lower, upper))
        (tensor([0.]), tensor([2.]))
    """
    ours, theirs = _flow("student", student), _flow("teacher", tuple(x.detach() for x in teacher))
    if ours.shape[1:] != theirs.shape[1:]:
        a, b = (" to ".join(map(str, flow.shape[1:])) for flow in (ours, theirs))
        raise ShapeError(
            f"student and teacher layers must have the same channels, got {a} and {b}: "
            "put a connector (a 1×1 convolution) on the student"
        )
    check_paired_shapes(ours, theirs)
    ours, theirs = upcast_both(ours, theirs)
    return (ours - theirs).square().mean((1, 2))


def _flow(who: str, layers: tuple[Tensor, ...]) -> Float[Tensor, "n a b"]:
    lower, upper = layers
    for x in layers:
        if x.dim() < 3 or not x.is_floating_point():
            raise ShapeError(
                f"the layers of the {who} must be maps of floating-point numbers, (n, channels, places …), got "
                f"{tuple(x.shape)} {x.dtype}: tap layers before the pooling"
            )
    if lower.shape[2:] != upper.shape[2:] or len(lower) != len(upper):
        raise ShapeError(
            f"the layers of the {who} must be of the same samples and places, got {tuple(lower.shape)} and "
            f"{tuple(upper.shape)}: pool the larger to the size of the smaller"
        )
    lower, upper = upcast_both(lower, upper)
    return products(lower.flatten(2), upper.flatten(2)) / lower[0, 0].numel()
