"""One incremental step: the teacher's classes are old and their images gone, the student learns new ones beside them.

Letters: m training images.
Source: the setting of "learning without forgetting". Li, Hoiem. ECCV 2016. https://arxiv.org/abs/1606.09282
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Int64
from torch import Tensor

from tutelage.data.protocols.base import Classes, Division, check_share
from tutelage.data.protocols.cross_task import ordered
from tutelage.data.protocols.standard import Standard
from tutelage.errors import ConfigError, LabelSpaceError
from tutelage.labels import LabelSpace

__all__ = ["Incremental"]


@dataclass(frozen=True, kw_only=True)
class Incremental:
    """The student has the teacher's classes and new ones, and sees images of the new ones only.

    It is judged on all classes together, and old and new apart (always among all classes), with their harmonic mean.
    The held-out images are of new classes too, since the old data is gone: the best epoch is that of the new classes.
    KD with ``shared_only`` is "learning without forgetting", with a weight of 0 and a ``task_weight`` of 1 fine-tuning.
    The rates of training from scratch forget everything: 0.1 to 0.2 is the highest that recipes have, 0.005 is a start.

    Args:
        num_new: New classes; by default all that the teacher lacks.
        order: A file of class names that says which come first; by default the order of the data.
        start: ``"teacher"``: a student of the teacher's model starts from its weights, its head's rows for the old
            classes among them; a student of another model cannot and starts afresh, and its head learns the old classes
            from the teacher's answers alone. ``"fresh"``: none starts from them.
        compare: What the cross-entropy compares: ``"all"`` classes, or the ``"new"`` ones alone, as with the separate
            heads of "learning without forgetting": it then pushes no old class down, and nothing weighs the two.
        train: ``"all"`` weights, or the ``"head"`` alone (a linear probe on the teacher: all else, also the statistics
            of batch norms, stays as it is).
        validation: Share of the training images held out to choose the best epoch.

    Raises:
        ConfigError: if a number is out of range, or a head is to be trained on features that were never taught.

    Example:
        >>> Incremental().classes(LabelSpace(tuple("abcd")), LabelSpace(("b", "a"))).labels.names
        ('b', 'a', 'c', 'd')
    """

    name: ClassVar[str] = "incremental"
    one_answer: ClassVar[bool] = False

    num_new: int | None = None
    order: str | None = None
    start: Literal["teacher", "fresh"] = "teacher"
    compare: Literal["all", "new"] = "all"
    train: Literal["all", "head"] = "all"
    validation: float = 0.1

    def __post_init__(self) -> None:
        check_share(self.validation)
        if self.num_new is not None and self.num_new < 1:
            raise ConfigError(f"num_new must be at least 1, got {self.num_new}")
        for name, known in (("start", ("teacher", "fresh")), ("compare", ("all", "new")), ("train", ("all", "head"))):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.train == "head" and self.start == "fresh":
            raise ConfigError("a head alone is trained on the teacher's features: leave out start=fresh")

    def classes(self, data: LabelSpace, teacher: LabelSpace | None) -> Classes:
        """The teacher's classes, then the new ones.

        Args:
            data: The classes of the data set.
            teacher: Those of the teacher.

        Raises:
            LabelSpaceError: if the data lacks the old classes, or has too few new ones.
            ConfigError: if there is no teacher.
        """
        if teacher is None:
            raise ConfigError("an incremental step starts from a teacher of the old classes: name one with --teacher")
        old, others = ordered(data, teacher, self.order)
        if not old:
            raise LabelSpaceError(
                f"the data has none of the teacher's {len(teacher)} classes, and old classes are judged on its test "
                f"images: name data that has both, or the teacher's classes as the data does (--teacher.classes FILE)"
            )
        wanted = self.num_new or max(1, len(others))
        if wanted > len(others):
            raise LabelSpaceError(
                f"{wanted} new classes are wanted, and the data has {len(others)} that the teacher does not know: "
                f"lower --num-new or name other data"
            )
        first = len(old) if self.compare == "new" else 0
        return Classes(LabelSpace((*old, *others[:wanted])), num_old=len(old), first=first)

    def divide(self, labels: Int64[Tensor, " m"], *, seed: int) -> Division:
        """As the standard protocol does.

        Args:
            labels: ``(m,)`` class of every training image, of new classes only.
            seed: Not used.

        Raises:
            ConfigError: if the images are too few.
        """
        return Standard(validation=self.validation).divide(labels, seed=seed)
