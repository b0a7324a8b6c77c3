"""Which features of two networks are compared: those that are named, or the stages that both have."""

import re

from tutelage.errors import ConfigError, UnknownNameError
from tutelage.types import Shapes

__all__ = ["last_feature", "shape_of", "shared_stages"]

_STAGE = re.compile(r"stage(\d+)")


def shape_of(who: str, role: str, shapes: Shapes) -> tuple[int, ...]:
    """The shape of a feature.

    Args:
        who: ``"student"`` or ``"teacher"``.
        role: The feature.
        shapes: Shapes of that network's outputs.

    Raises:
        UnknownNameError: if the network has no such feature; names the nearest.

    Example:
        >>> shape_of("student", "embedding", {"embedding": (6,)})
        (6,)
    """
    if role not in shapes:
        hint = f"Name its module path, as in --{who}.taps {role}=PATH"
        raise UnknownNameError(f"tap of the {who}", role, shapes, hint=hint)
    return shapes[role]


def last_feature(student: Shapes, teacher: Shapes) -> str:
    """The last stage that both networks have; ``"embedding"`` where there is none.

    Args:
        student: Shapes of the student's outputs.
        teacher: Shapes of the teacher's outputs.

    Example:
        >>> maps = {"stage1": (4, 8, 8), "stage2": (8, 4, 4)}
        >>> last_feature(maps, maps), last_feature(maps, {"embedding": (8,)})
        ('stage2', 'embedding')
    """
    return next(reversed(_stages_of_both(student, teacher)), "embedding")


def shared_stages(method: str, student: Shapes, teacher: Shapes) -> tuple[str, ...]:
    """The roles ``stage1``, ``stage2`` … that both networks have, in order.

    Args:
        method: Who asks, for the message.
        student: Shapes of the student's outputs.
        teacher: Shapes of the teacher's outputs.

    Raises:
        ConfigError: if there are none.

    Example:
        >>> shared_stages("nst", {"stage1": (4, 8, 8), "stage2": (8, 4, 4)}, {"logits": (2,), "stage2": (16, 4, 4)})
        ('stage2',)
    """
    shared = _stages_of_both(student, teacher)
    if not shared:
        raise ConfigError(
            f"{method} compares stages, and the networks share none: the student has {', '.join(student)}, the teacher "
            f"{', '.join(teacher)}; name what to compare, as in --{method}.roles ROLE"
        )
    return shared


def _stages_of_both(student: Shapes, teacher: Shapes) -> tuple[str, ...]:
    shared = [role for role in student if _STAGE.fullmatch(role) and role in teacher]
    return tuple(sorted(shared, key=lambda role: int(role.removeprefix("stage"))))
