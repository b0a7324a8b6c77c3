"""Divergences between the distributions of two sets of logits.

Letters: k classes; the leading dimensions are free.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.precision import upcast_both

__all__ = ["kl", "softened_kl"]


def kl(p: Float[Tensor, "*n k"], q: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    r"""Kullback-Leibler divergence between two sets of logits, one value a row.

    .. math:: \mathrm{KL}(P \| Q) = \sum_c P_c (\log P_c - \log Q_c), \quad
              P = \mathrm{softmax}(p), \; Q = \mathrm{softmax}(q)

    Zero, with zero gradient, for equal inputs. A class that P excludes (a logit of −∞) adds nothing, also
    where Q excludes it too; ``F.kl_div`` gives NaN there.

    Args:
        p: logits or log-probabilities of the distribution that the expectation is taken over.
        q: logits or log-probabilities of the distribution that is compared with it.

    Returns:
        One divergence in nats a row; not below zero by more than the rounding (1e-6 in float32); infinite
        where Q excludes a class that P does not.

    Example:
        >>> p = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
        >>> kl(p, torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
        tensor([0.0000, 0.3278])
    """
    p, q = upcast_both(p, q)
    log_p, log_q = F.log_softmax(p, dim=-1), F.log_softmax(q, dim=-1)
    weight = log_p.exp()
    # The difference is masked before the product: 0 · (−∞ + ∞) is NaN, and so would be its gradient.
    gap = torch.where(weight > 0, log_p - log_q, 0.0)
    return (weight * gap).sum(dim=-1)


def softened_kl(p: Float[Tensor, "*n k"], q: Float[Tensor, "*n k"], temperature: float) -> Float[Tensor, "*n"]:
    r"""τ² times :func:`kl` of logits divided by τ: its gradient is of one size whatever the temperature.

    Args:
        p: logits of the distribution that the expectation is taken over.
        q: logits of the distribution that is compared with it.
        temperature: τ, above zero.

    Returns:
        One divergence in nats a row.

    Example:
        >>> softened_kl(torch.tensor([[8.0, 0.0]]), torch.zeros(1, 2), 4.0)
        tensor([5.2450])
    """
    return temperature**2 * kl(p / temperature, q / temperature)
