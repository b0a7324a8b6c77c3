"""Label smoothing: a little of the target goes to the classes that are not the label.

Letters: n samples, k classes.
Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the Inception Architecture for Computer Vision. CVPR 2016.
https://arxiv.org/abs/1512.00567
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_labels, check_paired_logits
from tutelage.ops.precision import upcast

__all__ = ["label_smoothing"]


def label_smoothing(
    student_logits: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    *,
    smoothing: float = 0.1,
    over: Literal["others", "all"] = "others",
) -> Float[Tensor, " n"]:
    r"""Cross-entropy to a smoothed label; it stands in the place of the cross-entropy, not beside it.

    With q the softmax of the logits and y the label:

    .. math:: \ell_i = -(1 - \alpha) \log q_y - \tfrac{\alpha}{k-1} \sum_{c \ne y} \log q_c
              \quad \text{or} \quad -(1 - \alpha) \log q_y - \tfrac{\alpha}{k} \sum_c \log q_c

    The first is that of the comparisons with Tf-KD, the second that of the paper and of PyTorch; α in the first is
    α k / (k − 1) in the second. Either is least, but not zero, where q is the smoothed label.

    Args:
        student_logits: class scores of the student.
        labels: true class of each sample.
        smoothing: α, the share of the target that is spread; 0.1 in the paper. With 0 this is the cross-entropy.
        over: spread over the ``"others"`` alone or over ``"all"`` classes.

    Returns:
        One loss per sample, in nats; at least float32.

    Raises:
        ShapeError: if the logits are not ``(n, k)`` with at least two classes, or the labels are not ``(n,)`` int64
            in ``[0, k)``.
        ConfigError: if the smoothing is negative or leaves the label less than another class, or ``over`` is unknown.

    Example:
        >>> import torch
        >>> label_smoothing(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0]))
        tensor([0.3269, 0.6931])
    """
    check_paired_logits(student_logits, student_logits)
    check_labels(labels, student_logits)
    if over not in ("others", "all"):
        raise ConfigError(f"over must be 'others' or 'all', got {over!r}")
    k = student_logits.shape[1]
    most = (k - 1) / k if over == "others" else 1.0
    if not 0 <= smoothing <= most:
        raise ConfigError(f"smoothing must be from 0 to {most:g} (the uniform distribution), got {smoothing}")
    return F.cross_entropy(upcast(student_logits), labels, reduction="none", label_smoothing=min(smoothing / most, 1.0))
