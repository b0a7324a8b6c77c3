"""Numbers as the tables print them."""

import math
from collections.abc import Iterable, Sequence

from tutelage.report.statistics import Estimate

__all__ = [
    "NOTHING",
    "counted",
    "decimals",
    "joined",
    "number",
    "percent",
    "piped",
    "shortened",
    "signed",
    "with_interval",
]

NOTHING = "–"
"""What a cell without a value shows."""

_SPACE = "\N{NO-BREAK SPACE}"


def decimals(estimates: Sequence[Estimate]) -> int:
    """Decimals for the accuracies of a group, in per cent: two, or one if no interval is below ±1.

    Example:
        >>> decimals([Estimate(0.94, 0.004, 0.002, 3)]), decimals([Estimate(0.94, 0.021, 0.008, 3)])
        (2, 1)
    """
    known = [100 * each.half_width for each in estimates if each.half_width is not None]
    return 2 if not known or min(known) < 1 else 1


def percent(value: float | None, places: int) -> str:
    """A fraction in per cent, without the sign.

    Example:
        >>> percent(0.9412, 1), percent(None, 1)
        ('94.1', '–')
    """
    return NOTHING if value is None else f"{100 * value:.{places}f}"


def with_interval(value: Estimate, places: int) -> str:
    """Mean ± half-width in per cent; the mean alone where there is no interval.

    Example:
        >>> with_interval(Estimate(0.94, 0.0123, 0.005, 3), 1).replace(chr(160), " ")
        '94.0 ± 1.2'
    """
    half_width = f"{_SPACE}±{_SPACE}{percent(value.half_width, places)}" if value.half_width is not None else ""
    return percent(value.mean, places) + half_width


def signed(value: Estimate | None, places: int) -> str:
    """A difference in points with its sign, and its half-width.

    Example:
        >>> signed(Estimate(-0.0123, None, None, 1), 2), signed(None, 2)
        ('−1.23', '–')
    """
    if value is None:
        return NOTHING
    rounded = percent(abs(value.mean), places)
    sign = "" if float(rounded) == 0 else "+" if value.mean > 0 else "−"
    return sign + with_interval(Estimate(abs(value.mean), value.half_width, value.spread, value.count), places)


def number(value: int | float | None) -> str:
    """A count, a speed or a time: three digits at least, none of them noise.

    Example:
        >>> [number(value) for value in (45678, 3300.1, 12.34, 1.234, None)]
        ['45,678', '3,300', '12.3', '1.23', '–']
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    places = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2
    return f"{value:,.{places}f}"


def counted(count: int, thing: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "run"), counted(3, "run")
        ('1 run', '3 runs')
    """
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def joined(parts: Sequence[str]) -> str:
    """A list in words.

    Example:
        >>> joined(["kd", "crd", "rkd"])
        'kd, crd and rkd'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def piped(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and the others to the right.

    Example:
        >>> print(piped(["method", "%"], [["kd", "97.0"]]))
        | method | % |
        | :-- | --: |
        | kd | 97.0 |
    """
    lines = [head, [":--", *("--:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis.

    Example:
        >>> shortened("kd (temperature=4)", 10)
        'kd (tempe…'
    """
    return text if len(text) <= most else text[: max(most - 1, 1)] + "…"
