"""Splits of labelled samples, repeatable with every version of every library.

Letters: m samples, k kept, v held out.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data.counter import uniform_bits
from tutelage.errors import ConfigError

__all__ = ["stratified_split"]

_SPLIT_STREAM = 0x73706C6974


def stratified_split(
    labels: Int64[Tensor, " m"], *, fraction: float, seed: int
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " v"]]:
    """Hold out a fraction of every class.

    A class of c samples gives ``floor(fraction · c)`` or one more, by the largest remainder, so that
    ``round(fraction · m)`` are held out in all; every class keeps at least one.

    Args:
        labels: ``(m,)`` int64 classes.
        fraction: Share to hold out, above 0 and below 1.
        seed: Which samples.

    Returns:
        The ids that are kept and those held out, each in ascending order.

    Raises:
        ConfigError: if the fraction is not between 0 and 1.

    Example:
        >>> kept, held_out = stratified_split(torch.arange(20) % 2, fraction=0.2, seed=0)
        >>> len(kept), (held_out % 2).bincount()
        (16, tensor([2, 2]))
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction to hold out must be above 0 and below 1, got {fraction}")
    classes, counts = torch.unique(labels, return_counts=True)
    shares = fraction * counts.double()
    quotas = shares.floor().long()
    missing = max(0, round(fraction * len(labels)) - int(quotas.sum()))
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:missing]] += 1
    quotas = torch.minimum(quotas, counts - 1)
    order = uniform_bits(seed, _SPLIT_STREAM, torch.arange(len(labels))).argsort(stable=True)
    parts = [order[labels[order] == label][:quota] for label, quota in zip(classes, quotas.tolist(), strict=True)]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[torch.cat(parts)] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
