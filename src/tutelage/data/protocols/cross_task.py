"""Cross-task: a student of other classes than its teacher, some of which they may share.

Letters: m training images, n classes of the student.
Source: Ye, Lu, Zhan. Generalized Knowledge Distillation via Relationship Matching. TPAMI 2022.
https://arxiv.org/abs/2205.01915. Code: https://github.com/njulus/GKD/tree/a37fc79
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from tutelage.data.class_lists import choose_classes
from tutelage.data.protocols.base import Classes, Division, check_share
from tutelage.data.protocols.standard import Standard
from tutelage.errors import ConfigError, LabelSpaceError
from tutelage.labels import LabelSpace

__all__ = ["CrossTask", "ordered"]


@dataclass(frozen=True, kw_only=True)
class CrossTask:
    """The student has the last classes of its teacher, as many as the overlap, and the classes that come next.

    With a teacher of the classes at positions 0 to n of an order, the student has those from n - overlap to
    2n - overlap: all of the teacher's at an overlap of n, none at 0. The teacher says which classes come first and in
    which order; those that it lacks follow in the order of the file, else of the data.

    Args:
        overlap: Classes that both know.
        num_classes: n, those of the student; by default as many as the teacher has.
        order: A file of class names, such as ``order.json``; by default the order of the data.
        teacher_classes: Where no teacher is given (for a student alone, to compare with): how many the teacher has.
        validation: Share of the training images held out to choose the best epoch.
        train_size: Train on about so many of the others, as many of each class; by default on all.

    Raises:
        ConfigError: if a number is out of range.

    Example:
        >>> data = LabelSpace(tuple("abcdef"))
        >>> CrossTask(overlap=1).classes(data, LabelSpace(("a", "b", "c"))).labels.names
        ('c', 'd', 'e')
    """

    name: ClassVar[str] = "cross-task"
    one_answer: ClassVar[bool] = False

    overlap: int = 0
    num_classes: int | None = None
    order: str | None = None
    teacher_classes: int | None = None
    validation: float = 0.1
    train_size: int | None = None

    def __post_init__(self) -> None:
        check_share(self.validation)
        if self.overlap < 0:
            raise ConfigError(f"overlap is a number of classes from 0 on, got {self.overlap}")
        for name in ("num_classes", "teacher_classes"):
            count = getattr(self, name)
            if count is not None and count < 2:
                raise ConfigError(f"{name} must be at least 2, got {count}")
        if self.train_size is not None and self.train_size < 1:
            raise ConfigError(f"train_size must be at least 1, got {self.train_size}")

    def classes(self, data: LabelSpace, teacher: LabelSpace | None) -> Classes:
        """The last of the teacher's classes, and those that come next.

        Args:
            data: The classes of the data set.
            teacher: Those of the teacher; None takes the first ``teacher_classes`` of the order.

        Raises:
            LabelSpaceError: if teacher or data have too few classes, with the numbers.
            ConfigError: if nothing says which classes a teacher has.
        """
        known, others = ordered(data, self._teacher(data, teacher), self.order)
        n = self.num_classes or len(known)
        if self.overlap > min(n, len(known)):
            raise LabelSpaceError(
                f"an overlap of {self.overlap} classes is wanted, and the teacher has {len(known)} of the {len(data)} "
                f"classes of the data, the student {n}: lower --overlap, or name the teacher's classes as the data "
                f"does (--teacher.classes FILE)"
            )
        if n - self.overlap > len(others):
            raise LabelSpaceError(
                f"a student of {n} classes that shares {self.overlap} with its teacher needs {n - self.overlap} "
                f"others, and the data has {len(others)}: raise --overlap or lower --num-classes"
            )
        return Classes(LabelSpace((*known[len(known) - self.overlap :], *others[: n - self.overlap])))

    def _teacher(self, data: LabelSpace, teacher: LabelSpace | None) -> LabelSpace:
        if teacher is not None:
            return teacher
        if self.teacher_classes is None:
            raise ConfigError("cross-task needs a teacher whose classes are known, or --teacher-classes N without one")
        order = choose_classes(self.order, data) if self.order else data
        return LabelSpace(order.names[: self.teacher_classes])

    def divide(self, labels: Int64[Tensor, " m"], *, seed: int) -> Division:
        """As the standard protocol does.

        Args:
            labels: ``(m,)`` class of every training image.
            seed: Not used.

        Raises:
            ConfigError: if the images are too few.
        """
        return Standard(validation=self.validation, train_size=self.train_size).divide(labels, seed=seed)


def ordered(data: LabelSpace, teacher: LabelSpace, order: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes of the data that the teacher knows, in its order, and those that it lacks, in the given order.

    Args:
        data: The classes of the data set.
        teacher: Those of the teacher.
        order: A file of class names; None for the order of the data.

    Raises:
        LabelSpaceError: if the file names a class that the data lacks.

    Example:
        >>> ordered(LabelSpace(("fox", "owl", "cat")), LabelSpace(("cow", "cat")), None)
        (('cat',), ('fox', 'owl'))
    """
    names = choose_classes(order, data).names if order else data.names
    known = teacher.shared_with(data)
    return known, tuple(name for name in names if name not in known)
