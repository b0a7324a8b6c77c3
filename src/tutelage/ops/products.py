"""Products of rows that keep their precision, forwards and backwards.

Letters: a and b rows, d features; the leading dimensions are those of a batch of matrices.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.ops.precision import without_autocast

__all__ = ["products"]


def products(x: Float[Tensor, "*batch a d"], y: Float[Tensor, "*batch b d"]) -> Float[Tensor, "*batch a b"]:
    r"""Scalar product of each row with each row.

    .. math:: p_{ij} = \sum_k x_{ik} y_{jk}

    Under autocast a product of float32 is computed in bfloat16, and so is the backward pass of one that was made
    outside of it, where that pass runs inside: both are prevented here. May be differentiated twice.

    Args:
        x: rows in at least float32.
        y: rows of the same width and type.

    Returns:
        The products, in that type.

    Example:
        >>> products(torch.tensor([[1.0, 2.0]]), torch.eye(2))
        tensor([[1., 2.]])
    """
    out: Tensor = _Products.apply(x, y)  # type: ignore[no-untyped-call]
    return out


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        with without_autocast(x):
            return x @ y.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x: Tensor
        y: Tensor
        x, y = ctx.saved_tensors
        with without_autocast(x):
            return (
                grad @ y if ctx.needs_input_grad[0] else None,
                grad.mT @ x if ctx.needs_input_grad[1] else None,
            )
