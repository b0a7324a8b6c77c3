"""What every teacher is: something that answers a batch with logits and features by role."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from tutelage.errors import TeacherError
from tutelage.labels import LabelSpace
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["CutOffError", "Teacher"]


class CutOffError(TeacherError):
    """A teacher failed in the middle of a batch: what it had answered must not be lost, since it may have cost.

    Args:
        message: What happened.
        answer: To the whole batch; ``known`` says which samples were answered.
    """

    def __init__(self, message: str, answer: Outputs) -> None:
        super().__init__(message)
        self.answer = answer


@runtime_checkable
class Teacher(Protocol):
    """Anything that answers a batch.

    Attributes:
        labels: The classes of its logits.
        fingerprint: Changes when its answers can change.
        calls: Number of samples it answered so far.
    """

    labels: LabelSpace
    fingerprint: str
    calls: int

    @property
    def shapes(self) -> Shapes:
        """Shape of each output by role, without the batch dimension."""

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on."""

    def compile(self) -> None:
        """Compile what stands behind it, where there is something to compile."""

    def __call__(self, batch: Batch) -> Outputs:
        """Answer the batch, without gradient."""
