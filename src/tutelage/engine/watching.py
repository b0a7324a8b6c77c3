"""Numbers that a method watches: taken at each validation, of the same few images, beside the accuracy."""

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.engine.cohort import Lessons
from tutelage.engine.handover import trains_alone
from tutelage.engine.session import Session
from tutelage.methods import Method
from tutelage.types import Batch, Outputs

__all__ = ["WATCHED", "Watch"]

WATCHED = 256
"""Validation images, un-augmented: CKA of two halves of 2,048 numbers with a feature of 4,096 takes a core 0.4 s."""

LEAST = 4
"""Fewer images are none: the unbiased estimate of CKA needs so many."""


class Watch:
    """What :meth:`Method.figures` says of the student as it stands.

    The images are drawn once from the validation images, alike in every run with these, by a generator of their own.
    The teacher is the bare one: what it says here is neither kept nor counted. One whose calls cost is not asked.

    Args:
        session: The parts of the run.
        method: Of the stage.

    Attributes:
        why_not: What to tell where there are figures and they cannot be taken; else empty.
    """

    def __init__(self, session: Session, method: Method | Lessons | None) -> None:
        self._session = session
        self._method = None if method is None or trains_alone(method) or not method.needs.figures else method
        self.why_not = ""
        self._teacher = session.tutor.source if session.tutor is not None else None
        taught = self._method is not None and self._method.needs.teacher
        if taught and (session.tutor is None or session.tutor.config.costs):
            self._method, self.why_not = None, "nothing is watched at validation: calls of the teacher cost"
        ids = session.judge.ids["validation"]
        rows = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:WATCHED].sort().values
        self._ids = ids[rows]

    @torch.inference_mode()
    def __call__(self) -> dict[str, dict[str, float | None]]:
        """``{"figures": {name: value}}``, None where a value is not finite; empty where nothing is watched.

        Every rank must call it, with equal weights on all.
        """
        if self._method is None or len(self._ids) < LEAST:
            return {}
        batch = next(self._session.judge.batches("validation", self._ids))
        said = [self._session.judge.ask(network, batch) for network in self._session.networks]
        if isinstance(self._method, Lessons):
            found = _among(self._method, said)
        else:
            found = self._method.figures(said[0], self._heard(batch, said[0]))
        values = {name: value.item() for name, value in found.items()}  # waits once a validation
        return {"figures": {name: value if math.isfinite(value) else None for name, value in values.items()}}

    def _heard(self, batch: Batch, own: Outputs) -> Outputs:
        """What the teacher says; the student's own answers for a method that needs none."""
        source = self._teacher
        if source is None or self._method is None or not self._method.needs.teacher:
            return own
        calls = source.calls
        answer = source(batch)
        source.calls = calls  # they count what the student is taught with
        return answer


def _among(lessons: Lessons, said: Sequence[Outputs]) -> dict[str, Tensor]:
    """The mean over whom a network learns from; named as terms are, those of peer i begin with ``peer<i>.``."""
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for (learner, teacher), method in lessons.pairs.items():
        if teacher < len(said):  # what an ensemble says is no feature
            for name, value in method.figures(said[learner], said[teacher]).items():
                found[f"peer{learner}.{name}" if learner else name].append(value)
    return {name: torch.stack(values).mean() for name, values in found.items()}
