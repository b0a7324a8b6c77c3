"""A teacher that is asked once for each (id, view); the rest is read from disk."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tutelage.errors import ConfigError, DataError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.teachers.protocol import CutOffError, Teacher
from tutelage.teachers.rows import distinct, pick
from tutelage.teachers.store import AnswerStore
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["CachedTeacher"]


class CachedTeacher:
    """Answers from a store; what it lacks is asked of ``inner``, put on disk, and only then used.

    Every answer is read from the store, so that the first run gives the numbers of all later ones, bit by bit.
    Several processes never ask for the same (id, view) at once: the second waits and finds the answer.

    Args:
        inner: The teacher that is asked, possibly one with a budget.
        store: Of this very teacher.

    Attributes:
        calls: Samples that ``inner`` answered.
        partial: Whether answers may be missing: ``known`` is then always given, so that all ranks can gather it.

    Raises:
        DataError: if the store holds the answers of another teacher.
        ConfigError: if it holds another number of classes, or features that the teacher has not.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tutelage.models import ModelCard, build_network
        >>> from tutelage.teachers import Content, LiveTeacher, Subject
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> live = LiveTeacher(build_network(card))
        >>> subject = Subject(teacher=live.fingerprint, views="plain", data="d", content=Content(num_classes=2))
        >>> teacher = CachedTeacher(live, AnswerStore(Path(tempfile.mkdtemp()), subject))
        >>> ids = torch.tensor([7, 7])
        >>> batch = Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ids, ids, ids)
        >>> _ = teacher(batch), teacher(batch)
        >>> teacher.calls
        1
    """

    def __init__(self, inner: Teacher, store: AnswerStore) -> None:
        content = store.subject.content
        if store.subject.teacher != inner.fingerprint:
            raise DataError(
                f"{store.path} holds the answers of teacher {store.subject.teacher}, and this teacher is "
                f"{inner.fingerprint}: give its own cache"
            )
        if content.num_classes != len(inner.labels):
            raise ConfigError(f"the cache keeps {content.num_classes} classes, the teacher has {len(inner.labels)}")
        for role, shape in content.taps:
            if tuple(inner.shapes.get(role, ())) != shape:
                raise ConfigError(f"the cache keeps {role!r} of shape {shape}, the teacher has {dict(inner.shapes)}")
        self.labels: LabelSpace = inner.labels
        self.fingerprint: str = inner.fingerprint
        self.calls = 0
        self.partial: bool = getattr(inner, "partial", False)
        self._inner, self._store = inner, store
        self._roles = [role for role, _ in content.taps]
        inner.listen(self._roles)

    @property
    def shapes(self) -> Shapes:
        """Shape of each output that the store keeps, without the batch dimension."""
        content = self._store.subject.content
        return {"logits": (content.num_classes,), **dict(content.taps)}

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on; all that the store keeps are still asked for.

        Raises:
            UnknownNameError: if the store does not keep one of them.
        """
        kept, wanted = dict(self._store.subject.content.taps), list(roles)
        for role in wanted:
            if role not in kept:
                raise UnknownNameError("feature of this cache", role, kept, "Make a cache that keeps it.")
        self._roles = wanted

    def compile(self) -> None:
        """Compile what stands behind it."""
        self._inner.compile()

    def __call__(self, batch: Batch) -> Outputs:
        """Answer the batch; ``known`` is False where a budget kept the teacher from answering.

        Raises:
            ConfigError: if the images are mixtures, which no (id, view) determines.
            TeacherError: if the teacher answers what half precision cannot hold.
            RunError: if the disk is full: before the teacher is asked, wherever this can be foreseen.
        """
        if batch.images.is_floating_point():
            raise ConfigError("mixed images cannot be cached, since (id, view) does not determine them: mix answers")
        device, ids, views = batch.images.device, batch.ids.cpu(), batch.views.cpu()
        rows, known = self._store.get(ids, views)
        if not known.all():
            self._ask(pick(batch, (~known).nonzero()[:, 0]))
            rows, known = self._store.get(ids, views)
        whole = self._store.subject.content.decode(rows.to(device))
        taps = {role: whole.taps[role] for role in self._roles}
        if known.all() and not self.partial:
            return Outputs(whole.logits, taps)
        known = known.to(device)
        return Outputs(_zeroed(whole.logits, known), taps, known)

    def _ask(self, missing: Batch) -> None:
        """Get the answers on disk, each once."""
        missing = pick(missing, distinct(missing.ids, missing.views)[0])
        with self._store.asking(missing.ids, missing.views):
            _, answered = self._store.get(missing.ids.cpu(), missing.views.cpu())  # by another process, meanwhile
            missing = pick(missing, (~answered).nonzero()[:, 0])
            if not len(missing.ids):
                return
            self._store.check_room(len(missing.ids))
            try:
                self._keep(missing, self._inner(missing))
            except CutOffError as error:
                self._keep(missing, error.answer)
                raise

    def _keep(self, asked: Batch, answer: Outputs) -> None:
        """Put what was answered on disk."""
        if answer.known is not None:
            index = answer.known.nonzero()[:, 0]
            asked = pick(asked, index)
            answer = Outputs(answer.logits[index], {role: value[index] for role, value in answer.taps.items()})
        if not len(asked.ids):
            return
        self.calls += len(asked.ids)
        self._store.put(asked.ids.cpu(), asked.views.cpu(), self._store.subject.content.encode(answer))


def _zeroed(logits: Tensor, known: Tensor) -> Tensor:
    """Zero where there is no answer: the row of zeros of a top-k answer is not zero when it is decoded."""
    return torch.where(known[:, None], logits, torch.zeros_like(logits))
