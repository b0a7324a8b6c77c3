"""Features with their channels first, whatever they are: maps, tokens or vectors.

Letters: n samples, c channels, h height, w width, t tokens.
"""

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ShapeError
from tutelage.methods.adapters.stages import shape_of
from tutelage.types import Shapes

__all__ = [
    "channels_first",
    "channels_of",
    "common_places",
    "paired_features",
    "pooled",
    "same_places",
]


def paired_features(
    method: str, role: str, student: Shapes, teacher: Shapes
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of one role in both networks, if both are maps, tokens or vectors.

    Args:
        method: Who asks, for the message.
        role: The feature.
        student: Shapes of the student's outputs.
        teacher: Shapes of the teacher's outputs.

    Raises:
        UnknownNameError: if one of them has no such feature; names the nearest.
        ShapeError: if the features are of two kinds.

    Example:
        >>> paired_features("ft", "blocks", {"blocks": (65, 192)}, {"blocks": (197, 768)})
        ((65, 192), (197, 768))
    """
    ours, theirs = shape_of("student", role, student), shape_of("teacher", role, teacher)
    if len(ours) != len(theirs) or len(ours) not in (1, 2, 3):
        raise ShapeError(
            f"{method} compares two maps, two rows of tokens or two vectors, but {role!r} is {ours} in the student "
            f"and {theirs} in the teacher: choose another role or tap"
        )
    return ours, theirs


def channels_of(shape: tuple[int, ...]) -> int:
    """How many channels a feature has: first in a map ``(c, h, w)``, last in tokens ``(t, c)`` and a vector ``(c,)``.

    Example:
        >>> channels_of((64, 8, 8)), channels_of((197, 768)), channels_of((512,))
        (64, 768, 512)
    """
    return shape[0] if len(shape) == 3 else shape[-1]


def channels_first(x: Tensor) -> Tensor:
    """A map as it is, tokens ``(n, t, c)`` as ``(n, c, t)``, a vector ``(n, c)`` as ``(n, c, 1)``.

    Example:
        >>> import torch
        >>> tuple(channels_first(torch.zeros(2, 197, 768)).shape), tuple(channels_first(torch.zeros(2, 5)).shape)
        ((2, 768, 197), (2, 5, 1))
    """
    return x.unsqueeze(2) if x.dim() == 2 else x.transpose(1, 2) if x.dim() == 3 else x


def common_places(ours: tuple[int, ...], theirs: tuple[int, ...]) -> tuple[int, ...]:
    """The smaller height and width of two maps, or the smaller number of tokens.

    Example:
        >>> common_places((64, 8, 4), (32, 4, 8)), common_places((197, 768), (65, 192)), common_places((5,), (6,))
        ((4, 4), (65,), (1,))
    """
    return tuple(map(min, _places(ours), _places(theirs)))


def pooled(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """A feature, channels first, as means over its places; tokens are pooled in their order.

    Args:
        x: ``(n, c, h, w)`` or ``(n, c, t)``.
        places: The height and width, or the number of tokens, that are wanted.

    Example:
        >>> import torch
        >>> pooled(torch.tensor([[[1.0, 3.0, 5.0, 5.0]]]), (2,))
        tensor([[[2., 5.]]])
    """
    if x.shape[2:] == places:
        return x
    return F.adaptive_avg_pool2d(x, places) if len(places) == 2 else F.adaptive_avg_pool1d(x, places[0])


def same_places(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the larger of two features, channels first, to the places of the smaller.

    Example:
        >>> import torch
        >>> [tuple(x.shape) for x in same_places(torch.zeros(2, 4, 8, 8), torch.zeros(2, 6, 4, 4))]
        [(2, 4, 4, 4), (2, 6, 4, 4)]
    """
    places = tuple(map(min, student.shape[2:], teacher.shape[2:]))
    return pooled(student, places), pooled(teacher, places)


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if len(shape) == 3 else shape[:-1] or (1,)
