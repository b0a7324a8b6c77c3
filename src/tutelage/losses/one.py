"""ONE: several networks make an ensemble while they learn, and each learns from it.

Letters: n samples, m networks, k classes.
Source: Lan, Zhu, Gong. Knowledge Distillation by On-the-Fly Native Ensemble. NeurIPS 2018.
https://arxiv.org/abs/1806.04606
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.ops.precision import upcast_both

__all__ = ["native_ensemble"]


def native_ensemble(branch_logits: Float[Tensor, "n m k"], shares: Float[Tensor, "n m"]) -> Float[Tensor, "n k"]:
    r"""The logits of several networks, weighted for each sample by a gate.

    .. math:: z^e_i = \sum_b g_{ib} \, z^b_i

    Gradients flow into both: the ensemble's cross-entropy trains the gate and the networks. A network learns from the
    ensemble by :func:`~tutelage.losses.kd` with temperature 3, which detaches it.

    Args:
        branch_logits: class scores of each network.
        shares: g, of each network, not negative and one in sum: a softmax.

    Returns:
        Class scores of the ensemble, in at least float32.

    Raises:
        ShapeError: if the logits are not ``(n, m, k)`` with at least one sample, one network and two classes, or there
            is not one share a network.

    Example:
        >>> branches = torch.tensor([[[8.0, 0.0], [0.0, 4.0]]])
        >>> native_ensemble(branches, torch.tensor([[0.75, 0.25]]))
        tensor([[6., 1.]])
    """
    if branch_logits.dim() != 3 or min(branch_logits.shape[:2]) < 1 or branch_logits.shape[2] < 2:
        raise ShapeError(
            f"logits of several networks must be (n, m, k) with at least two classes, "
            f"got {tuple(branch_logits.shape)}: stack them in dimension 1"
        )
    if shares.shape != branch_logits.shape[:2]:
        raise ShapeError(
            f"shares must be one a network, {tuple(branch_logits.shape[:2])}, got {tuple(shares.shape)}: "
            "give the softmax of a gate"
        )
    logits, weights = upcast_both(branch_logits, shares)
    return torch.sum(logits * weights.unsqueeze(2), 1)  # no matrix product: autocast would round it
