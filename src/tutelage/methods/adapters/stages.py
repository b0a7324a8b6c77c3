"""Which stages of two networks are compared, for the methods that name none."""

import re

from tutelage.errors import ConfigError
from tutelage.types import Shapes

__all__ = ["shared_stages"]

_STAGE = re.compile(r"stage(\d+)")


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
    shared = [role for role in student if _STAGE.fullmatch(role) and role in teacher]
    if not shared:
        raise ConfigError(
            f"{method} compares stages, and the networks share none: the student has {', '.join(student)}, the teacher "
            f"{', '.join(teacher)}; name what to compare, as in --{method}.roles ROLE"
        )
    return tuple(sorted(shared, key=lambda role: int(role.removeprefix("stage"))))
