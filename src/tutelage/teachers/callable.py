"""A teacher that is any Python function from images to logits or probabilities.

Letters: n samples, c channels, h height, w width, k classes.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError, TeacherError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["FLOOR", "CallableTeacher", "Gives", "LogitsTeacher", "as_logits", "check_pixels", "check_roles"]

Gives = Literal["logits", "probabilities"]
"""What a teacher without taps answers with."""

FLOOR = 1e-7
"""Smaller probabilities count as this one, logit −16.1: the logarithm of 0 is no logit, and a float32 softmax is
exact to 6e-8 at best."""

_TOLERANCE = 1e-3
"""Half precision rounds each of k probabilities by 2⁻¹¹ of itself at most, so their sum by 5e-4."""


class LogitsTeacher:
    """What teachers without features have in common.

    Args:
        labels: The classes of the answers, in their order.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self.labels = labels
        self.calls = 0

    @property
    def shapes(self) -> Shapes:
        """Logits alone, without the batch dimension."""
        return {"logits": (len(self.labels),)}

    def listen(self, roles: Iterable[str]) -> None:
        """Accept that no features are wanted.

        Raises:
            UnknownNameError: if any is.
        """
        check_roles(roles)

    def compile(self) -> None:
        """Nothing to compile: what answers is elsewhere."""


class CallableTeacher(LogitsTeacher):
    """Asks a function.

    Args:
        function: From uint8 images ``(n, c, h, w)`` to a tensor or array ``(n, k)``.
        labels: The classes of its answers, in their order.
        name: Of what stands behind the function, with its version: a function has no fingerprint, so the one of this
            teacher is made of this name, the classes and ``gives``. Another name is another teacher to a cache.
        gives: What the function returns; probabilities become their logarithm, from :data:`FLOOR` up.

    Attributes:
        calls: Samples that were answered.

    Raises:
        ConfigError: if the name is empty, or ``gives`` is neither of the two.

    Example:
        >>> teacher = CallableTeacher(
        ...     lambda images: [[0.25, 0.75]] * len(images), labels=LabelSpace(("a", "b")),
        ...     name="quarter-1", gives="probabilities")
        >>> ids = torch.zeros(2, dtype=torch.int64)
        >>> answer = teacher(Batch(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), ids, ids, ids))
        >>> answer.logits.exp()[0]
        tensor([0.2500, 0.7500])
    """

    def __init__(
        self, function: Callable[[Tensor], Any], *, labels: LabelSpace, name: str, gives: Gives = "logits"
    ) -> None:
        if not name.strip():
            raise ConfigError("a function needs a name to be told apart by: give name, such as 'vendor-model-2026-05'")
        if gives not in ("logits", "probabilities"):
            raise ConfigError(f"gives must be 'logits' or 'probabilities', got {gives!r}")
        super().__init__(labels)
        self.fingerprint = hashlib.sha256(repr((name, labels.names, gives)).encode()).hexdigest()[:16]
        self._function, self._name, self._gives = function, name, gives

    def __call__(self, batch: Batch) -> Outputs:
        """Answer every sample of the batch.

        Raises:
            ConfigError: if the images are mixtures.
            TeacherError: if the function answers with another shape, NaN, or what is no probability.
        """
        check_pixels(batch.images)
        with torch.no_grad():
            answer = self._function(batch.images)
        n, k = len(batch.images), len(self.labels)
        logits = as_logits(answer, n=n, k=k, gives=self._gives, who=f"the function {self._name!r}")
        self.calls += n
        return Outputs(logits.to(batch.images.device), {})


def as_logits(answer: Any, *, n: int, k: int, gives: Gives, who: str) -> Float[Tensor, "n k"]:
    """The logits in an answer that came from elsewhere, once it is seen to be one.

    Args:
        answer: A tensor, an array or nested lists.
        n: Samples that were asked about.
        k: Classes.
        gives: What the answer holds.
        who: The teacher, for the message.

    Returns:
        ``(n, k)`` float32: the logits, or the logarithm of the probabilities, from :data:`FLOOR` up.

    Raises:
        TeacherError: if the answer has another shape, is not finite, or is no distribution over the classes.
    """
    try:
        values = _copied(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TeacherError(f"{who} must return numbers of shape ({n}, {k}), got a {type(answer).__name__}") from error
    if values.shape != (n, k):
        raise TeacherError(
            f"{who} must return {gives} of shape ({n}, {k}), one row a sample and one column a class, "
            f"got {tuple(values.shape)}"
        )
    odd = int((~values.isfinite()).any(1).sum())
    if odd:
        raise TeacherError(f"{who} must return finite {gives}, got NaN or infinity for {odd} of {n} samples")
    if gives == "logits":
        return values
    if n and values.min() < 0:
        raise TeacherError(f"{who} must return probabilities, got {float(values.min()):.4g}: does it return logits?")
    off = (values.sum(1) - 1).abs()
    if n and off.max() > _TOLERANCE:
        total = float(values.sum(1)[off.argmax()])
        raise TeacherError(
            f"{who} must return probabilities that sum to 1 within {_TOLERANCE}, got a sum of {total:.4g}"
        )
    return values.clamp_min(FLOOR).log()


def _copied(answer: Any) -> Tensor:
    """In float32, and a copy, since the function may go on to use what it returned."""
    if isinstance(answer, Tensor):
        return answer.detach().to(torch.float32, copy=True)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and that is refused
        return torch.from_numpy(np.array(answer, dtype=np.float32))


def check_pixels(images: Tensor) -> None:
    """Refuse mixtures of images, which are not uint8.

    Raises:
        ConfigError: if the images have another type.
    """
    if images.dtype != torch.uint8:
        raise ConfigError(f"this teacher takes uint8 pixels, got {images.dtype}: mix its answers, not its images")


def check_roles(roles: Iterable[str]) -> None:
    """Refuse features, since this kind of teacher answers with logits alone.

    Raises:
        UnknownNameError: if any role is wanted.
    """
    for role in roles:
        raise UnknownNameError(
            "tap", role, (), "This teacher answers with logits alone: choose a method that needs none"
        )
