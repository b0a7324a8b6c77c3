"""Brings the feature of the student to the shape of the teacher's, for FitNet, VID and the white-box form of CKD."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import ShapeError
from tutelage.methods.adapters.stages import shape_of
from tutelage.types import Shapes

__all__ = [
    "INITIAL_VARIANCE",
    "FeatureLoss",
    "hint_adapter",
    "paired_shapes",
    "raw_variance",
    "regressor",
    "same_size",
    "shape_of",
    "variance_of",
]

INITIAL_VARIANCE = 5.0
"""Of every channel before training: init_pred_var of distiller_zoo/VID.py, HobbitLong/RepDistiller@b84f547."""

_LEAST_VARIANCE = 1e-5
"""Keeps the quotient finite; the authors' value."""


def paired_shapes(method: str, role: str, student: Shapes, teacher: Shapes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of one role in both networks, if an adapter can lead from one to the other.

    Args:
        method: Who asks, for the message.
        role: The feature.
        student: Shapes of the student's outputs.
        teacher: Shapes of the teacher's outputs.

    Raises:
        UnknownNameError: if one of them has no such feature; names the nearest.
        ShapeError: if one feature is a map and the other a vector.

    Example:
        >>> paired_shapes("fitnet", "stage2", {"stage2": (4, 8, 8)}, {"stage2": (6, 4, 4)})
        ((4, 8, 8), (6, 4, 4))
    """
    ours, theirs = shape_of("student", role, student), shape_of("teacher", role, teacher)
    if len(ours) != len(theirs) or len(ours) not in (1, 3):
        raise ShapeError(
            f"{method} compares two maps or two vectors, but {role!r} is {ours} in the student "
            f"and {theirs} in the teacher: choose another role or tap"
        )
    return ours, theirs


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the larger of two maps to the height and width of the smaller; vectors stay as they are.

    Args:
        student: ``(n, s, h, w)`` or ``(n, s)``.
        teacher: ``(n, t, h, w)`` of another size, or ``(n, t)``.

    Example:
        >>> [tuple(x.shape) for x in same_size(torch.zeros(2, 4, 8, 8), torch.zeros(2, 6, 4, 4))]
        [(2, 4, 4, 4), (2, 6, 4, 4)]
    """
    if student.dim() == 2 or student.shape[2:] == teacher.shape[2:]:
        return student, teacher
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, (height, width)), F.adaptive_avg_pool2d(teacher, (height, width))


def hint_adapter(ours: tuple[int, ...], theirs: tuple[int, ...]) -> nn.Sequential:
    """FitNet's: a 1×1 convolution (or a linear layer) and a batch norm.

    The batch norm keeps the weight of 100 stable (without it the hint drowns the labels), and makes samples depend
    on each other.

    Args:
        ours: Shape of the student's feature.
        theirs: Shape of the teacher's, of the same kind.

    Example:
        >>> hint_adapter((4, 8, 8), (6, 4, 4))[0]
        Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))
    """
    if len(ours) == 1:
        return nn.Sequential(nn.Linear(ours[0], theirs[0]), nn.BatchNorm1d(theirs[0]))
    return nn.Sequential(nn.Conv2d(ours[0], theirs[0], 1), nn.BatchNorm2d(theirs[0]))


def regressor(ours: tuple[int, ...], theirs: tuple[int, ...]) -> nn.Sequential:
    """VID's: three 1×1 convolutions, or linear layers.

    Args:
        ours: Shape of the student's feature.
        theirs: Shape of the teacher's, of the same kind.

    Example:
        >>> regressor((4,), (6,))[0]
        Linear(in_features=4, out_features=6, bias=False)
    """

    def layer(width: int) -> nn.Module:
        out = theirs[0]
        return nn.Conv2d(width, out, 1, bias=False) if len(ours) == 3 else nn.Linear(width, out, bias=False)

    return nn.Sequential(layer(ours[0]), nn.ReLU(), layer(theirs[0]), nn.ReLU(), layer(theirs[0]))


def raw_variance(variance: float, channels: int) -> nn.Parameter:
    """What VID trains for the variance of each channel: :func:`variance_of` makes it positive.

    Args:
        variance: Of every channel before training; one below the least, 1e-5, starts near the least.
        channels: How many.

    Example:
        >>> round(variance_of(raw_variance(5.0, 2))[0].item(), 4)
        5.0
    """
    above = max(variance - _LEAST_VARIANCE, _LEAST_VARIANCE)
    return nn.Parameter(torch.full((channels,), above + math.log(-math.expm1(-above))))  # the inverse of softplus


def variance_of(raw: Tensor) -> Tensor:
    """The variance of each channel, at least 1e-5.

    Args:
        raw: ``(t,)`` trained numbers of any sign.

    Example:
        >>> variance_of(torch.zeros(1))
        tensor([0.6932])
    """
    return F.softplus(raw) + _LEAST_VARIANCE


class FeatureLoss(nn.Module):
    """FitNet, VID or CC on rows made of one feature, as CKD makes them: one number.

    Args:
        kind: Which loss; the adapter is the one that its method trains, and its other settings are the defaults.
        role: The feature.
        student: Shapes of the student's outputs.
        teacher: Shapes of the teacher's outputs.

    Raises:
        UnknownNameError: if a network has no such feature; names the nearest.
        ShapeError: if the feature is a map in one network and a vector in the other (FitNet, VID).

    Example:
        >>> FeatureLoss("cc", "embedding", {}, {})(torch.eye(2), torch.eye(2))
        tensor(0.)
    """

    def __init__(self, kind: Literal["fitnet", "vid", "cc"], role: str, student: Shapes, teacher: Shapes) -> None:
        super().__init__()
        self.kind = kind
        if kind == "cc":
            return  # compares rows with rows, whatever their shapes
        ours, theirs = paired_shapes(kind, role, student, teacher)
        self.adapter = hint_adapter(ours, theirs) if kind == "fitnet" else regressor(ours, theirs)
        if kind == "vid":
            self.spread = raw_variance(INITIAL_VARIANCE, theirs[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over the rows of both networks."""
        if self.kind == "cc":
            return losses.correlation_congruence(student.flatten(1), teacher.flatten(1)).mean()
        ours, theirs = same_size(student, teacher)
        if self.kind == "fitnet":
            return losses.fitnet(self.adapter(ours), theirs).mean()
        return losses.vid(self.adapter(ours), theirs, variance_of(self.spread)).mean()
