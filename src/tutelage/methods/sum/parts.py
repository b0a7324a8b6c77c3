"""How a sum of methods is written, and what all its parts together must be given."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tutelage.errors import ConfigError
from tutelage.methods.base import Needs

__all__ = ["Summand", "is_sum", "merged", "numbered", "summands"]

_SUMMAND = re.compile(r"(?:(\d*\.?\d+(?:e-?\d+)?)\*)?([a-z]\w*)")


class Summand(NamedTuple):
    """A part of a sum as it is written.

    Attributes:
        key: Under which its settings stand: the name, with a number from the second of one method on.
        name: Of the method.
        weight: What its terms are multiplied with.
    """

    key: str
    name: str
    weight: float


def summands(text: str) -> tuple[Summand, ...]:
    """Read ``[WEIGHT*]NAME+[WEIGHT*]NAME+…``; a name alone is a sum of one.

    Raises:
        ConfigError: if it is written otherwise.

    Example:
        >>> summands("0.5*fitnet+kd+fitnet")[2]
        Summand(key='fitnet2', name='fitnet', weight=1.0)
    """
    found = []
    for word in text.split("+"):
        match = _SUMMAND.fullmatch(word)
        if match is None:
            raise ConfigError(f"methods are added as [WEIGHT*]NAME+[WEIGHT*]NAME…, like 0.5*kd+rkd; got {text!r}")
        found.append((match[2], float(match[1] or 1)))
    keys = numbered([name for name, _ in found])
    return tuple(Summand(key, name, weight) for key, (name, weight) in zip(keys, found, strict=True))


def is_sum(name: str) -> bool:
    """Whether the name of a method is that of a sum.

    Example:
        >>> is_sum("kd+rkd"), is_sum("0.5*kd"), is_sum("kd")
        (True, True, False)
    """
    return "+" in name or "*" in name


def numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names that tell apart what is called alike: ``kd``, ``rkd``, ``kd2``.

    Example:
        >>> numbered(["kd", "rkd", "kd"])
        ('kd', 'rkd', 'kd2')
    """
    seen = Counter[str]()
    keys = []
    for name in names:
        seen[name] += 1
        keys.append(name if seen[name] == 1 else f"{name}{seen[name]}")
    return tuple(keys)


def merged(needs: Mapping[str, Needs]) -> Needs:
    """What all of several methods must be given.

    Args:
        needs: Of each, by its name.

    Raises:
        ConfigError: if nothing can satisfy all: with the names, what each wants and what to do.

    Example:
        >>> merged({"rkd": Needs(roles=("embedding",), at_least=3), "kd": Needs(labels=("same",))}).at_least
        3
    """
    every = tuple(needs.values())
    labels = tuple(label for label in Needs().labels if all(label in need.labels for need in every))
    if not labels:
        wanted = " and ".join(f"{key} ({' or '.join(need.labels)})" for key, need in needs.items())
        raise ConfigError(f"no teacher has classes that suit {wanted}: leave out one of them")
    each = {key: need.images_per_class for key, need in needs.items() if need.images_per_class is not None}
    groups = {key: need.group_size for key, need in needs.items() if need.group_size is not None}
    if len(set(groups.values())) > 1 or (groups and each):
        ways = [f"{key} wants groups of {size}" for key, size in groups.items()]
        ways += [f"{key} {size} images of each class" for key, size in each.items()]
        raise ConfigError(f"batches cannot be formed in two ways: {', '.join(ways)}: leave out one of them")
    if len({need.trains for need in every}) > 1:
        whom = ", ".join(f"{key} trains the {need.trains}" for key, need in needs.items())
        raise ConfigError(f"a stage trains the student or the method, and {whom}: give them stages of their own")
    judges = {need.judge for need in every}
    return Needs(
        labels=labels,
        roles=tuple(dict.fromkeys(role for need in every for role in need.roles)),
        compares_samples=any(need.compares_samples for need in every),
        at_least=max(need.at_least for need in every),
        teacher=any(need.teacher for need in every),
        peers=any(need.peers for need in every),
        images_per_class=max(each.values(), default=None),  # it is the least that a batch must hold
        group_size=next(iter(groups.values()), None),
        labelled=any(need.labelled for need in every),
        trains=every[0].trains,
        # What trains the classifier is judged by it, whatever else is trained beside.
        judge="accuracy" if "accuracy" in judges else "ncm" if "ncm" in judges else "none",
        figures=any(need.figures for need in every),
    )
