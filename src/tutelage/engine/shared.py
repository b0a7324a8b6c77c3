"""What a method of logits is shown where teacher and student share only some of their classes.

Letters: n samples, s classes that both know.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from tutelage.engine.hints import sampling_hint, task_weight_hint
from tutelage.errors import ConfigError, LabelSpaceError
from tutelage.labels import LabelSpace, listed
from tutelage.methods import Method, MethodConfig, Needs, replaces_labels
from tutelage.methods.sum import Sum
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["SharedClasses", "SharedMethod", "SharedTeacher", "answers_of", "share_classes"]


class SharedClasses:
    """Cuts outputs down to the columns of the shared classes, in the student's order, before a method sees them.

    Every sample is compared, also one of a class that the teacher does not know: a softmax over the shared columns
    asks which of the classes that both know it is most like, and a teacher can say that of any image. (What it thinks
    of classes that the student lacks is left out of it.) So a student of new classes keeps what the teacher knew of
    the old ones: with KD this is "learning without forgetting" (Li, Hoiem 2016).

    A method that reads labels as columns cannot be asked so: for it, samples of classes that the teacher does not know
    have no answer, and learn from their labels alone.

    Args:
        student: The classes of the student and of the labels.
        teacher: Those of the teacher.
        labelled: Whether the method reads labels as columns.
        device: Where the outputs are.

    Raises:
        LabelSpaceError: if fewer than two classes are shared.

    Example:
        >>> shared = SharedClasses(LabelSpace(("fox", "owl", "cat")), LabelSpace(("cat", "dog", "fox")))
        >>> shared.labels.names
        ('fox', 'cat')
        >>> y = torch.tensor([2])
        >>> mine, theirs = Outputs(torch.tensor([[1.0, 2, 3]]), {}), Outputs(torch.tensor([[7.0, 8, 9]]), {})
        >>> ours, its, _ = shared(mine, theirs, Batch(torch.zeros(1, 1, 2, 2), y, y, y))
        >>> ours.logits, its.logits
        (tensor([[1., 3.]]), tensor([[9., 7.]]))
    """

    def __init__(
        self,
        student: LabelSpace,
        teacher: LabelSpace,
        *,
        labelled: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        names = student.shared_with(teacher)
        if len(names) < 2:
            near = [f"{mine!r} and {theirs!r}" for mine, theirs in student.near_misses(teacher)[:3]]
            maybe = (
                f"; {', '.join(near)} may be the same: say so in a class map (--teacher.classes FILE)" if near else ""
            )
            raise LabelSpaceError(
                f"--shared-only compares the classes that both know, at least two, and the student's {len(student)} "
                f"and the teacher's {len(teacher)} classes share {len(names) or 'none'}{maybe}; the teacher has "
                f"{listed(teacher.names)}, the student {listed(student.names)}: use a method that reads features only"
            )
        self.labels = LabelSpace(names)
        """The shared classes, in the student's order."""
        self.labelled = labelled
        self._student = torch.tensor(self.labels.index_in(student), device=device)
        self._teacher = torch.tensor(self.labels.index_in(teacher), device=device)
        self._numbers = torch.tensor(student.index_in(self.labels), device=device)

    @property
    def device(self) -> torch.device:
        """Where the outputs are."""
        return self._student.device

    def answered(self, labels: Tensor) -> Tensor:
        """Which samples of these labels are of a shared class."""
        return self._numbers[labels] >= 0

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch) -> tuple[Outputs, Outputs, Batch]:
        """What the method is shown instead; a method that reads labels is given samples of shared classes only."""
        ours = self.cut_student(student)
        shown = batch._replace(labels=self._numbers[batch.labels]) if self.labelled else batch
        return ours, self.cut(teacher), shown

    def cut_student(self, student: Outputs) -> Outputs:
        """The student's answer over the shared classes."""
        return student._replace(logits=student.logits.index_select(1, self._student))

    def cut(self, teacher: Outputs) -> Outputs:
        """The teacher's answer over the shared classes."""
        return teacher._replace(logits=teacher.logits.index_select(1, self._teacher))

    def shapes(self, shapes: Shapes) -> Shapes:
        """What a network's outputs are once they are cut."""
        return {**shapes, "logits": (len(self.labels),)}


class SharedTeacher:
    """A teacher that answers about the shared classes only: for a method that asks it before training.

    Args:
        inner: The teacher.
        shared: The classes.
    """

    def __init__(self, inner: Teacher, shared: SharedClasses) -> None:
        self._inner, self._shared = inner, shared
        self.labels: LabelSpace = shared.labels
        self.fingerprint: str = inner.fingerprint

    @property
    def calls(self) -> int:
        """Number of samples that the teacher answered so far."""
        return self._inner.calls

    @calls.setter
    def calls(self, count: int) -> None:
        self._inner.calls = count

    @property
    def shapes(self) -> Shapes:
        """Shape of each output by role, without the batch dimension."""
        return self._shared.shapes(self._inner.shapes)

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on."""
        self._inner.listen(roles)

    def compile(self) -> None:
        """Compile what stands behind it."""
        self._inner.compile()

    def __call__(self, batch: Batch) -> Outputs:
        """Answer every sample of the batch."""
        return self._shared.cut(self._inner(batch))


class SharedMethod(Method):
    """A method that is shown the shared classes only.

    Args:
        inner: The method.
        shared: The classes.
    """

    def __init__(self, inner: Method, shared: SharedClasses) -> None:
        super().__init__(replace(inner.needs, labels=Needs().labels))
        self.inner, self.shared = inner, shared

    def follow(self, earlier: Mapping[str, Method]) -> None:
        """As the method does."""
        self.inner.follow(earlier)

    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """As the method does, with a teacher of the shared classes."""
        self.inner.prepare(SharedTeacher(teacher, self.shared), batches)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of the method."""
        terms: dict[str, Term] = self.inner(*self.shared(student, teacher, batch))
        return terms

    def figures(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        """Those of the method."""
        return self.inner.figures(self.shared.cut_student(student), self.shared.cut(teacher))

    def after_step(self, epoch: float) -> None:
        """As the method does."""
        self.inner.after_step(epoch)


def share_classes(method: Method, student: LabelSpace, teacher: LabelSpace, *, device: torch.device) -> Method:
    """The method, or each part of a sum, shown the shared classes only where it does not take the classes as they are.

    Args:
        method: As it was built.
        student: The classes of the student.
        teacher: Those of the teacher.
        device: Where the outputs are.

    Raises:
        LabelSpaceError: if too few classes are shared.
    """
    if student.relation(teacher) in method.needs.labels:
        return method
    if isinstance(method, Sum):
        parts = method.parts.items()
        return Sum(method.config, {k: share_classes(part, student, teacher, device=device) for k, part in parts})
    return SharedMethod(method, SharedClasses(student, teacher, labelled=method.needs.labelled, device=device))


def answers_of(
    method: nn.Module | None, labels: Tensor, *, config: MethodConfig | None, student: LabelSpace
) -> Callable[[Tensor], Tensor] | None:
    """From labels to whether a sample has an answer, for methods that some samples cannot be shown to.

    Args:
        method: Of a stage; None for labels alone.
        labels: Of the training images.
        config: Of the method.
        student: The classes of the student.

    Returns:
        None where every sample has one.

    Raises:
        LabelSpaceError: if none has.
        ConfigError: if the method is given groups, and some of their samples would have no answer; or if nothing would
            tell the shared classes from the others, because the cross-entropy has no weight.
    """
    if config is None or not isinstance(method, Method):
        return None
    cut = [part.shared for part in method.modules() if isinstance(part, SharedMethod)]
    if not cut or len(cut[0].labels) == len(student):
        return None
    if config.task_weight == 0 and not replaces_labels(config):
        raise ConfigError(
            f"{config.name} leaves out the cross-entropy, and over the {len(cut[0].labels)} shared of {len(student)} "
            f"classes nothing else would teach the others: give it a weight ({task_weight_hint(config)})"
        )
    masks = [shared for shared in cut if shared.labelled]
    if not masks:
        return None
    count = int(masks[0].answered(labels.to(masks[0].device)).sum())
    if not count:
        raise LabelSpaceError(
            f"{config.name} reads the labels of the shared classes, and none of the {len(labels)} training images is "
            f"of one: use a method of logits that reads none, such as kd"
        )
    if count < len(labels) and method.needs.group_size is not None:
        raise ConfigError(
            f"{config.name} is given groups of {method.needs.group_size} samples, and {len(labels) - count} of the "
            f"{len(labels)} training images are of classes that the teacher lacks: form groups in the batch "
            f"({sampling_hint(config, method)})"
        )
    return masks[0].answered
