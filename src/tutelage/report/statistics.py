r"""Means over seeds, with the interval that a few seeds allow.

.. math:: \bar x \pm t_{0.975,\,n-1}\, s / \sqrt n, \qquad s^2 = \tfrac1{n-1} \sum_i (x_i - \bar x)^2

The interval of a paired difference leaves out 0 exactly where the paired t-test gives p < 0.05. Many such tests call
some differences by chance: :func:`holm` says which p-values hold for all of them together.

Letters: n seeds, s standard deviation over seeds, t quantile of Student's distribution.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.errors import DataError

__all__ = ["Estimate", "estimate", "holm", "paired"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: Of the values.
        half_width: Of the 95 % confidence interval; None for one value.
        spread: The standard deviation over seeds; None for one value.
        count: How many values.
    """

    mean: float
    half_width: float | None
    spread: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves zero out, so that the sign may be called.

        An interval of width zero calls nothing: if every seed shows exactly the same difference, the test set
        is too coarse to show the spread (two seeds that both gain 4 of 360 images, say).

        Example:
            >>> Estimate(0.02, 0.01, 0.005, 3).excludes_zero, Estimate(0.02, 0.0, 0.0, 2).excludes_zero
            (True, False)
        """
        return bool(self.half_width) and abs(self.mean) > (self.half_width or 0.0)

    @property
    def p_value(self) -> float | None:
        """Of the t-test against a mean of 0, on both sides; None where there is no interval, or one of width zero.

        Example:
            >>> round(estimate([0.01, 0.02, 0.03]).p_value, 4), estimate([0.01]).p_value
            (0.0742, None)
        """
        if not self.spread:
            return None
        from scipy.special import stdtr

        return 2 * float(stdtr(self.count - 1, -abs(self.mean) * math.sqrt(self.count) / self.spread))


def estimate(values: Sequence[float]) -> Estimate:
    """Mean, 95 % interval by Student's t, and standard deviation.

    Args:
        values: One a seed.

    Returns:
        The estimate; one value has no interval.

    Raises:
        DataError: if there is no value.

    Example:
        >>> some = estimate([0.94, 0.95, 0.96])
        >>> round(some.mean, 4), round(some.half_width, 4), round(some.spread, 4), some.count
        (0.95, 0.0248, 0.01, 3)
        >>> estimate([0.94])
        Estimate(mean=0.94, half_width=None, spread=None, count=1)
    """
    if not values:
        raise DataError("a mean needs at least one value, got none")
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, None, None, 1)
    from scipy.special import stdtrit  # scipy.stats takes about 1 s to import, for the same quantile

    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half_width = float(stdtrit(count - 1, 0.975)) * spread / math.sqrt(count)
    return Estimate(mean, half_width, spread, count)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values that hold together: below 0.05 for any true difference of 0 in 5 of 100 tables at most.

    Holm, A simple sequentially rejective multiple test procedure, 1979: the smallest of m is multiplied by m, the next
    by m - 1, and so on; none is smaller than one before it, and none is above 1.

    Args:
        p_values: One a comparison.

    Returns:
        The adjusted ones, in the same order.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, least = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = least
    return adjusted


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Mean difference, ours − theirs, over the seeds that both have.

    Args:
        ours: Value by seed.
        theirs: Value by seed.

    Returns:
        The estimate, or None if they have no seed in common.

    Example:
        >>> gain = paired({0: 0.95, 1: 0.96, 2: 0.99}, {0: 0.94, 1: 0.94, 7: 0.10})
        >>> round(gain.mean, 3), gain.count
        (0.015, 2)
    """
    # 0.1 + 0.2 - 0.3 is not 0: without the rounding, two equal means of repeats would differ by 1e-17 ± 0
    differences = [round(ours[seed] - theirs[seed], 12) for seed in sorted(ours.keys() & theirs.keys())]
    return estimate(differences) if differences else None
