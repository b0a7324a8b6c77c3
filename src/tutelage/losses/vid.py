"""VID: the student predicts the teacher's features, and how sure it is of each channel.

Letters: n samples, c channels; the trailing dimensions are free.
Source: Ahn, Hu, Damianou, Lawrence, Dai. Variational Information Distillation for Knowledge Transfer. CVPR 2019.
https://arxiv.org/abs/1904.05835
"""

from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.checks import check_paired_shapes
from tutelage.ops.precision import upcast, upcast_both

__all__ = ["vid"]


def vid(
    student_mean: Float[Tensor, "n c ..."], teacher_features: Float[Tensor, "n c ..."], variance: Float[Tensor, " c"]
) -> Float[Tensor, " n"]:
    r"""Negative log-likelihood of the teacher's features, without its constant ½ log 2π.

    With μ the features that the student predicts and σ² one variance a channel, over all D numbers of a sample:

    .. math:: \ell_i = \tfrac1D \sum_{j=1}^{D} \tfrac12 \Big(
              \frac{(\mu_{ij} - t_{ij})^2}{\sigma_{c(j)}^2} + \log \sigma_{c(j)}^2 \Big)

    Smallest where μ is the teacher's feature and σ² the mean squared gap of the channel; may be negative.

    Args:
        student_mean: features of the student after the regressor.
        teacher_features: features of the teacher for the same samples; no gradient flows there.
        variance: σ² of each channel, above zero; learned with the regressor.

    Returns:
        One loss per sample, in nats a number; at least float32.

    Raises:
        ShapeError: if the features differ in shape or have no channels, or the variances are not one a channel
            and (checked on the CPU) above zero.

    Example:
        >>> import torch
        >>> vid(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2), torch.ones(2))
        tensor([1., 0.])
    """
    check_paired_shapes(student_mean, teacher_features)
    channels = student_mean.shape[1]
    if variance.shape != (channels,):
        raise ShapeError(f"variance must be one number a channel, ({channels},), got {tuple(variance.shape)}: match it")
    # An accelerator would have to wait for the answer.
    if variance.device.type == "cpu" and not bool((variance > 0).all()):
        raise ShapeError(f"variance must be above zero, got {float(variance.min())}: use softplus plus a small number")
    ours, theirs = upcast_both(student_mean, teacher_features.detach())
    spread = upcast(variance).to(ours.dtype).reshape(1, channels, *[1] * (ours.dim() - 2))
    return (0.5 * ((ours - theirs).square() / spread + spread.log())).flatten(1).mean(1)
