"""The flags of the method that ``--method`` names, or of every part of a sum: ``--method kd+rkd --rkd.angle 50``."""

from typing import Annotated, Any

from tyro.conf import arg

from tutelage.engine.codec import check_method
from tutelage.methods import METHODS, MethodConfig, SumConfig, is_sum, summands

__all__ = ["method_asked", "method_flags"]

_TASK_WEIGHT = Annotated[
    float | None, arg(help="Of the cross-entropy beside a sum of methods; by default the largest of its parts'.")
]


def method_flags(name: str, known: MethodConfig | None) -> list[tuple[str, Any, Any]]:
    """Field, type and default of every flag.

    Args:
        name: What follows ``--method``.
        known: The method of the run that gives the defaults: where it has another name, they are the papers'.

    Raises:
        UnknownNameError: if there is no such method.
        ConfigError: if a sum is written wrongly.

    Example:
        >>> [field for field, _, _ in method_flags("kd+2*rkd", None)]
        ['kd', 'rkd', 'task_weight']
    """
    known = known if known is not None and known.name == name else None
    if not is_sum(name):
        check_method(name)
        return [(name, METHODS[name], known or METHODS[name]())]
    flags: list[tuple[str, Any, Any]] = []
    parts = known.parts if isinstance(known, SumConfig) else ()
    for number, part in enumerate(summands(name)):
        check_method(part.name)
        flags.append((part.key, METHODS[part.name], parts[number] if parts else METHODS[part.name]()))
    own = known.task_weight if known and known.task_weight != SumConfig.of(parts).task_weight else None
    return [*flags, ("task_weight", _TASK_WEIGHT, own)]


def method_asked(asked: Any) -> MethodConfig:
    """The method that the flags describe.

    Raises:
        ConfigError: if the parts of a sum contradict each other.
    """
    name: str = asked.method
    if not is_sum(name):
        alone: MethodConfig = getattr(asked, name)
        return alone
    written = summands(name)
    return SumConfig.of(
        [getattr(asked, part.key) for part in written],
        weights=[part.weight for part in written],
        task_weight=asked.task_weight,
    )
