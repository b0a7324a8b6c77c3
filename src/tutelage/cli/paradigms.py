"""``--paradigm`` and ``--peers``: whom a method learns from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from tutelage.engine import StudentConfig
from tutelage.errors import ConfigError
from tutelage.methods import MethodConfig, is_taught, learns_from_peers

__all__ = ["in_paradigm", "peers_of"]

_SOURCES = {"offline": "teacher", "online": "peer", "self": "student"}
_COPIES = ("ema", "snapshot")


def in_paradigm(
    paradigm: Literal["offline", "online", "self"], method: MethodConfig, teacher: str | None
) -> tuple[MethodConfig, str | None]:
    """The method under a paradigm, and its teacher.

    Args:
        paradigm: Which.
        method: One with a setting ``source`` is told whom to learn from; others must be able to as they are.
        teacher: As it was named; None if it was not.

    Raises:
        ConfigError: if the method does not learn so.

    Example:
        >>> from tutelage.methods import ICKDConfig, KDConfig
        >>> in_paradigm("online", ICKDConfig(), None)[0].source
        'peer'
        >>> in_paradigm("self", KDConfig(), None)[1]
        'ema'
    """
    if hasattr(method, "source"):
        settings: Any = method
        method = replace(settings, source=_SOURCES[paradigm])
    elif paradigm == "self" and is_taught(method):
        teacher = teacher or "ema"
        if teacher not in _COPIES:
            raise ConfigError(f"{method.name} under --paradigm self is taught by {' or '.join(_COPIES)}, got {teacher}")
    found = "online" if learns_from_peers(method) else "offline" if is_taught(method) else "self"
    if found != paradigm and not (paradigm == "self" and teacher in _COPIES):
        whom = {"online": "from peers", "offline": "from a teacher", "self": "without a teacher"}
        raise ConfigError(
            f"{method.name} learns {whom[found]}, as it is set, and not {whom[paradigm]}: leave out --paradigm, or "
            f"choose another method (`tutelage list methods`)"
        )
    return method, teacher


def peers_of(words: Sequence[str], student: StudentConfig) -> tuple[StudentConfig, ...]:
    """The networks that learn beside the student.

    Args:
        words: Their models, or one number: of the networks in all, each of the student's model.
        student: The first of them.

    Raises:
        ConfigError: if the number is below two.

    Example:
        >>> len(peers_of(["3"], StudentConfig(model="zoo:resnet8")))
        2
        >>> [peer.model for peer in peers_of(["zoo:resnet14"], StudentConfig(model="zoo:resnet8"))]
        ['zoo:resnet14']
    """
    if len(words) == 1 and words[0].isdecimal():
        if int(words[0]) < 2:
            raise ConfigError(f"peers are two or more networks, got {words[0]}: leave out --peers for two")
        return (student,) * (int(words[0]) - 1)
    return tuple(StudentConfig(model=model) for model in words)
