"""Tf-KD: a teacher made by hand, right in 99 of 100 cases and very soft.

Letters: n samples, k classes.
Source: Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing Regularization. CVPR 2020.
https://arxiv.org/abs/1909.11723

This is the paper's Tf-KD_reg. Its Tf-KD_self needs no loss of its own: it is :func:`tutelage.losses.kd` with a trained
copy of the student as teacher.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.ops.checks import check_labels, check_paired_logits, check_positive
from tutelage.ops.divergences import kl
from tutelage.ops.precision import upcast

__all__ = ["tf_kd"]


def tf_kd(
    student_logits: Float[Tensor, "n k"],
    labels: Int64[Tensor, " n"],
    *,
    correct: float = 0.99,
    temperature: float = 20.0,
    student_temperature: float = 1.0,
) -> Float[Tensor, " n"]:
    r"""Divergence of the student from the softened answers of a virtual teacher.

    The virtual teacher gives a to the label and (1 − a) / (k − 1) to each other class; its probabilities, not their
    logarithms, are divided by τ and pass a softmax:

    .. math:: \ell_i = \mathrm{KL}\!\left( \mathrm{softmax}(p^d_i / \tau)
              \,\|\, \mathrm{softmax}(z_i / \tau_S) \right)

    So it is nearly uniform: with 100 classes and τ = 20 the label gets 0.0105 and each other class 0.0100. The paper's
    equation has τ_S = τ; the authors' code for CIFAR-100 has τ_S = 1 (which "works better", says their issue 3), and
    there the loss, up to a number, is label smoothing over all classes with α = 0.9995. Neither has a factor τ².

    Their code averages over samples and classes and multiplies by a number of its own a network (1 to 100), so that
    α there is α × multiplier / k as the weight of this loss: 0.1 for their ResNet18, 0.0095 for their MobileNetV2.

    Args:
        student_logits: class scores of the student.
        labels: true class of each sample.
        correct: a, what the virtual teacher gives to the label; 0.99 in the authors' code.
        temperature: τ of the virtual teacher; 20 for their ResNet18, 10 to 40 for others.
        student_temperature: τ_S.

    Returns:
        One loss per sample, zero where the student is the virtual teacher; at least float32.

    Raises:
        ShapeError: if the logits are not ``(n, k)`` with at least two classes, or the labels are not ``(n,)`` int64
            in ``[0, k)``.
        ConfigError: if a temperature is not above zero, or ``correct`` is not between 1 / k and 1.

    Example:
        >>> labels = torch.tensor([0])
        >>> tf_kd(torch.tensor([[0.049, 0.0]]), labels), tf_kd(torch.tensor([[5.0, 0.0]]), labels)
        (tensor([0.]), tensor([1.7526]))
    """
    check_paired_logits(student_logits, student_logits)
    check_labels(labels, student_logits)
    check_positive(temperature=temperature, student_temperature=student_temperature)
    k = student_logits.shape[1]
    if not 1 / k <= correct <= 1:
        raise ConfigError(f"correct must be from 1/{k} (the uniform distribution) to 1, got {correct}")
    ours = upcast(student_logits)
    # A number added to all logits does not count: the other classes' share is taken from the label's instead.
    lead = (correct - (1 - correct) / (k - 1)) / temperature
    virtual = torch.zeros_like(ours).scatter_(1, labels.unsqueeze(1), lead)
    return kl(virtual, ours / student_temperature)
