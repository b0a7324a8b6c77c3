"""Random numbers that are a pure function of (seed, counters): nothing is drawn from a global generator.

The generator is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2660193.2660195),
applied once for the seed and once for every counter. It is written in int64 arithmetic that wraps around, so
that CPU and GPU give the same bits, and so does plain Python (`mix`), which is the oracle of the tests.

Letters: n samples.
"""

import torch
from torch import Tensor

__all__ = ["mix", "uniform_bits", "uniform_integers", "uniform_unit"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def mix(value: int) -> int:
    """First output of SplitMix64 with the seed ``value``, as an unsigned 64-bit integer.

    Example:
        >>> hex(mix(0))
        '0xe220a8397b1dcdaf'
    """
    z = (value + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


def _signed(value: int) -> int:
    """The int64 number with the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _shifted(z: Tensor, by: int) -> Tensor:
    """Logical shift right: torch shifts int64 arithmetically, so the copies of the sign are masked off."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _mix_tensor(value: Tensor) -> Tensor:
    z = value + _signed(_GOLDEN)
    z = (z ^ _shifted(z, 30)) * _signed(_FIRST)
    z = (z ^ _shifted(z, 27)) * _signed(_SECOND)
    return z ^ _shifted(z, 31)


def uniform_bits(seed: int, *counters: int | Tensor) -> Tensor:
    r"""64 random bits for each combination of counters.

    .. math:: s_0 = \mathrm{mix}(\text{seed}), \quad s_{k+1} = \mathrm{mix}(s_k \oplus c_k)

    Args:
        seed: Any Python integer (its lowest 64 bits count).
        counters: Integers or int64 tensors that broadcast with each other; the order matters. Give a number of the
            purpose first, so that two uses of one seed are independent. Leading integers cost nothing.

    Returns:
        int64 of the broadcast shape, on the device of the tensors (a CPU scalar where all are integers).

    Example:
        >>> import torch
        >>> rows = uniform_bits(0, 7, torch.arange(2))
        >>> rows[1] == uniform_bits(0, 7, 1)
        tensor(True)
    """
    known = mix(seed & _MASK)
    state: Tensor | None = None
    for counter in counters:
        if state is None and isinstance(counter, int):
            known = mix(known ^ (counter & _MASK))
            continue
        word = torch.tensor(_signed(counter & _MASK)) if isinstance(counter, int) else counter
        state = _mix_tensor(word ^ _signed(known) if state is None else word ^ state)
    return torch.tensor(_signed(known)) if state is None else state


def uniform_integers(bits: Tensor, bound: int | Tensor) -> Tensor:
    """Integers in [0, bound) from random bits: the high 32 bits times the bound, shifted.

    A bound up to 2³¹ keeps the product in int64; the bias is below bound / 2³².

    Args:
        bits: int64 random bits.
        bound: One bound, or an int64 tensor that broadcasts with ``bits``.

    Returns:
        int64 of the broadcast shape.

    Example:
        >>> import torch
        >>> bool((uniform_integers(uniform_bits(0, torch.arange(99)), 3) < 3).all())
        True
    """
    return (_shifted(bits, 32) * bound) >> 32


def uniform_unit(bits: Tensor) -> Tensor:
    """Float64 numbers in [0, 1) from the high 53 bits.

    Example:
        >>> import torch
        >>> uniform_unit(torch.tensor([-1])).item() < 1
        True
    """
    return _shifted(bits, 11).double() * 2.0**-53
