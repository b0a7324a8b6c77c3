"""Relations are computed in at least float32, whatever the networks run in.

bfloat16 keeps 8 bits of a number: cosines of neighbours then differ by less than the rounding (0.4 %).
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["upcast", "upcast_both", "without_autocast"]


def upcast(x: Tensor) -> Tensor:
    """The same numbers in at least float32; float32 and float64 are returned as they are.

    Args:
        x: floating-point tensor of any shape.

    Returns:
        ``x`` in float32 if it came in half precision, else ``x`` itself.

    Example:
        >>> upcast(torch.ones(2, dtype=torch.bfloat16)).dtype, upcast(torch.ones(2).double()).dtype
        (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def upcast_both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in one type: the wider of the two, and at least float32.

    Several losses of torch refuse two types, as of a float64 student and a teacher's answers in float16.

    Args:
        a: floating-point tensor of any shape.
        b: floating-point tensor of any shape.

    Returns:
        ``a`` and ``b`` in the same type.

    Example:
        >>> a, b = upcast_both(torch.ones(2).double(), torch.ones(2).half())
        >>> a.dtype, b.dtype
        (torch.float64, torch.float64)
    """
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which products on the device of ``x`` keep their type.

    Under ``torch.autocast`` a matrix product of float32 tensors is computed in bfloat16, so that
    :func:`upcast` alone does not keep its promise.

    Args:
        x: any tensor on the device in question.

    Returns:
        A context manager; one that does nothing where the device knows no autocast.

    Example:
        >>> x = torch.eye(2)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     lowered = (x @ x).dtype
        ...     with without_autocast(x):
        ...         kept = (x @ x).dtype
        >>> lowered, kept
        (torch.bfloat16, torch.float32)
    """
    kind = x.device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
