"""The own stage of methods that teach in a stage before: labels alone."""

from tutelage.methods.base import Method, Needs
from tutelage.types import Batch, Outputs, Term

__all__ = ["LabelsAlone"]


class LabelsAlone(Method):
    """Has no term and asks no teacher: the student goes on from the stage before by the cross-entropy.

    Example:
        >>> LabelsAlone().needs.teacher
        False
    """

    def __init__(self) -> None:
        super().__init__(Needs(teacher=False))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """No term."""
        return {}
