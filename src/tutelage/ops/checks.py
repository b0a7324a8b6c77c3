"""Checks at the public door of a loss: what was wanted, what came, what to do.

They read shapes, types and devices; the values of tensors only on the CPU, where that makes nobody wait.
"""

import math

import torch
from torch import Tensor

from tutelage.errors import ConfigError, ShapeError

__all__ = [
    "check_labels",
    "check_non_negative",
    "check_paired_logits",
    "check_paired_maps",
    "check_paired_rows",
    "check_paired_shapes",
    "check_positive",
]


def check_positive(**settings: float | int) -> None:
    """Refuse settings that are not finite numbers above zero.

    Args:
        settings: what was given, under the names that the user knows.

    Raises:
        ConfigError: if one is zero, negative, infinite or NaN.

    Example:
        >>> check_positive(temperature=4.0)
    """
    for name, value in settings.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be positive{' and finite' if value > 0 else ''}, got {value}")


def check_non_negative(**settings: float | int) -> None:
    """Refuse settings that are not finite numbers of at least zero.

    Args:
        settings: what was given, under the names that the user knows.

    Raises:
        ConfigError: if one is negative, infinite or NaN.

    Example:
        >>> check_non_negative(alpha=0.0, beta=8)
    """
    for name, value in settings.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} must be {'finite' if value > 0 else 'at least 0'}, got {value}")


def check_paired_rows(student: Tensor, teacher: Tensor, *, at_least: int = 1) -> None:
    """Refuse features that are not one row a sample for the same samples; the widths may differ.

    Args:
        student: ``(n, ds)``.
        teacher: ``(n, dt)``.
        at_least: how many rows the formula needs: 2 for a distance, 3 for an angle.

    Raises:
        ShapeError: if the two are not matrices of numbers on one device with the same ``n >= at_least``.

    Example:
        >>> import torch
        >>> check_paired_rows(torch.zeros(4, 8), torch.zeros(4, 16), at_least=2)
    """
    for who, x in (("student", student), ("teacher", teacher)):
        if x.dim() != 2 or x.shape[1] == 0:
            raise ShapeError(
                f"{who} features must be one row a sample, (n, d), got {_shape(x)}: pool or flatten(1) them"
            )
    _check_same_kind(student, teacher)
    _check_same_samples(student, teacher)
    if len(student) < at_least:
        raise ShapeError(
            f"a comparison of samples needs at least {at_least} of them, got {len(student)}: "
            "use a larger batch, or drop the last incomplete one"
        )


def check_paired_shapes(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that cannot be subtracted from each other.

    Args:
        student: ``(n, ...)``, at least two dimensions.
        teacher: the same shape.

    Raises:
        ShapeError: if the shapes differ, are empty, or have no dimension beside the samples.

    Example:
        >>> import torch
        >>> check_paired_shapes(torch.zeros(4, 8, 2, 2), torch.zeros(4, 8, 2, 2))
    """
    _check_same_kind(student, teacher)
    if student.dim() < 2 or student.numel() == 0:
        raise ShapeError(
            f"features must be (n, ...) with at least one number a sample, got student {_shape(student)}: "
            "tap a layer that has features"
        )
    if student.shape != teacher.shape:
        raise ShapeError(
            f"student and teacher features must have one shape, got {_shape(student)} and {_shape(teacher)}: "
            "put a connector (a 1×1 convolution or a linear layer) on the student"
        )


def check_paired_logits(student: Tensor, teacher: Tensor) -> None:
    """Refuse logits that do not speak of the same samples and the same number of classes.

    Args:
        student: ``(n, k)``.
        teacher: ``(n, k)``.

    Raises:
        ShapeError: if the two are not matrices of numbers of one shape with ``n >= 1`` and ``k >= 2``.

    Example:
        >>> import torch
        >>> check_paired_logits(torch.zeros(4, 10), torch.zeros(4, 10))
    """
    for who, x in (("student", student), ("teacher", teacher)):
        if x.dim() != 2 or x.shape[0] < 1 or x.shape[1] < 2:
            raise ShapeError(
                f"{who} logits must be (n, k) with at least one sample and two classes, got {_shape(x)}: "
                "give the output of the classifier"
            )
    _check_same_kind(student, teacher)
    _check_same_samples(student, teacher)
    if student.shape[1] != teacher.shape[1]:
        raise ShapeError(
            f"student and teacher must have the same classes, got {student.shape[1]} and {teacher.shape[1]}: "
            "select and order the teacher's columns by the student's classes"
        )


def check_paired_maps(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not maps of the same samples and places; the channels may differ.

    Args:
        student: ``(n, s, ...)`` with at least one dimension of places.
        teacher: ``(n, t, ...)`` with the same places.

    Raises:
        ShapeError: if one is not a map of numbers, or samples, places or devices differ.

    Example:
        >>> import torch
        >>> check_paired_maps(torch.zeros(4, 8, 2, 2), torch.zeros(4, 16, 2, 2))
    """
    for who, x in (("student", student), ("teacher", teacher)):
        if x.dim() < 3 or x.numel() == 0:
            raise ShapeError(
                f"{who} features must be a map, (n, channels, places …), got {_shape(x)}: "
                "tap a layer before the pooling"
            )
    _check_same_kind(student, teacher)
    _check_same_samples(student, teacher)
    if student.shape[2:] != teacher.shape[2:]:
        raise ShapeError(
            f"student and teacher maps must have the same places, got {tuple(student.shape[2:])} and "
            f"{tuple(teacher.shape[2:])}: pool the larger to the size of the smaller"
        )


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that are not one class number a sample.

    Args:
        labels: ``(n,)`` int64 class numbers.
        logits: ``(n, k)`` that the labels belong to.

    Raises:
        ShapeError: if the shape, type or device is another, or (on the CPU) a number is not in ``[0, k)``.

    Example:
        >>> import torch
        >>> check_labels(torch.tensor([0, 9]), torch.zeros(2, 10))
    """
    n, k = logits.shape
    if labels.shape != (n,) or labels.dtype != torch.int64:
        raise ShapeError(
            f"labels must be int64 class numbers, one a sample, ({n},), got {_shape(labels)} {labels.dtype}: "
            "use labels.argmax(1) for one-hot rows, labels.long() for another type"
        )
    if labels.device != logits.device:
        raise ShapeError(
            f"labels and logits must be on one device, got {labels.device} and {logits.device}: move one of them"
        )
    # An accelerator would have to wait for the answer; it raises by itself when the class is looked up.
    if labels.device.type == "cpu" and not bool(((labels >= 0) & (labels < k)).all()):
        low, high = int(labels.min()), int(labels.max())
        raise ShapeError(
            f"labels must be class numbers from 0 to {k - 1}, got {low} to {high}: "
            "map the labels of the data set to the columns of the logits"
        )


def _check_same_kind(student: Tensor, teacher: Tensor) -> None:
    for who, x in (("student", student), ("teacher", teacher)):
        if not x.is_floating_point():
            raise ShapeError(f"{who} must be floating-point numbers, got {x.dtype}: convert with .float()")
    if student.device != teacher.device:
        raise ShapeError(
            f"student and teacher must be on one device, got {student.device} and {teacher.device}: move one of them"
        )


def _check_same_samples(student: Tensor, teacher: Tensor) -> None:
    if len(student) != len(teacher):
        raise ShapeError(
            f"student and teacher must describe the same samples, "
            f"got {len(student)} and {len(teacher)} rows: run both on one batch"
        )


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)
