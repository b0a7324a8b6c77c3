"""What every teacher is: something that answers a batch with logits and features by role."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from tutelage.labels import LabelSpace
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["Teacher"]


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
