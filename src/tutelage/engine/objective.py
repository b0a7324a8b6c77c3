"""What is minimised: cross-entropy with the labels, and the terms of a method.

Over several ranks a method that compares samples is given the whole batch, gathered with gradient: every rank
computes the same relation loss, and DDP's mean of the gradients is then exactly the single-process gradient.
(A gather without gradient gives half of it at two ranks.) Cross-entropy stays local: its mean over equal parts
is the mean over the batch.

A sample without an answer of the teacher learns from its label alone, with weight 1: the terms of the method are
those of the answered samples, times their share of the batch, so that every sample counts as much as any other.
It does so also in a stage that gives the cross-entropy no weight, such as REFILLED's first, and then trains the
classifier too: of 1,213 digits with 200 answers, 90 % are right by nearest class means after that stage, and 62 % where
the others teach nothing (docs/log.md).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.data import Mixture
from tutelage.errors import ConfigError
from tutelage.methods import MethodConfig, Needs
from tutelage.types import Batch, Outputs, Term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Objective", "Summands"]


class Summands(NamedTuple):
    """What a batch adds up to.

    Attributes:
        terms: By name; ``task`` is the cross-entropy.
        skipped: Samples of this rank, or of the whole batch where it was gathered, without an answer.
    """

    terms: dict[str, Term]
    skipped: int = 0


class Objective:
    """Terms of a batch.

    Args:
        fabric: Knows the ranks.
        config: Of the method, or ``None`` for labels alone.
        method: The module, wrapped for DDP where it has weights; ``None`` for labels alone.
        needs: What the method must be given.
        first: Number of the first class that the cross-entropy compares; labels are not below it.
        answers: From labels to whether the method can be shown a sample; None where it is shown all.
        shares: Among how many ranks a batch is divided; by default among all, 1 where each sees the whole.
    """

    def __init__(
        self,
        fabric: "Fabric",
        config: MethodConfig | None,
        method: nn.Module | None,
        *,
        needs: Needs | None = None,
        first: int = 0,
        answers: Callable[[Tensor], Tensor] | None = None,
        shares: int | None = None,
    ) -> None:
        self._fabric, self._shares = fabric, shares or fabric.world_size
        self._method = method
        self._needs = needs or Needs()
        self._first, self._answers = first, answers
        self._task_weight = config.task_weight if config else 1.0

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, mixture: Mixture | None = None
    ) -> Summands:
        """The terms by name.

        Args:
            student: What it says of the images, or of their mixtures.
            teacher: What it says of the single images; None for labels alone.
            batch: The single images.
            mixture: How they were mixed: each term is then the mean over the single images, by their shares.
        """
        if mixture is None:
            return self._of(student, teacher, batch)
        # A teacher answers about single images; peers, and the student itself, saw the mixture.
        heard = [_rolled(teacher, i) if self._needs.teacher else teacher for i in range(len(mixture.shares))]
        parts = [self._of(student, answer, _rolled(batch, i)) for i, answer in enumerate(heard)]
        mixed: dict[str, Term] = {}
        for share, part in zip(mixture.shares, parts, strict=True):
            for name, term in part.terms.items():
                before = mixed[name].value if name in mixed else 0.0
                mixed[name] = Term(before + share * term.value, term.weight)
        return Summands(mixed, parts[0].skipped)

    def alone(self, teacher: Outputs, batch: Batch) -> Summands:
        """The terms of a method that is trained without the student: it is given the teacher's outputs twice."""
        if self._method is None:
            raise ConfigError("labels alone train no method: name one")
        if teacher.known is None:
            return Summands(self._compared(teacher, teacher, batch))
        terms, skipped = self._answered(teacher, teacher, batch)
        if not terms:  # a batch without answers: something must flow back all the same
            weights = [weight.sum() for weight in self._method.parameters() if weight.requires_grad]
            terms = {"unanswered": Term(torch.stack(weights).sum(), 0.0)}
        return Summands(terms, skipped)

    def _of(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> Summands:
        compared, labels = student.logits[:, self._first :].float(), batch.labels - self._first
        losses = F.cross_entropy(compared, labels, reduction="none")
        if self._method is not None and not self._needs.teacher and teacher is None:
            teacher = _mapped(Tensor.detach, student)
        if self._method is None or teacher is None:
            return Summands({"task": Term(losses.mean(), self._task_weight)})
        if self._answers is not None:
            known = self._answers(batch.labels)
            teacher = teacher._replace(known=known if teacher.known is None else known & teacher.known)
        if teacher.known is not None:
            return self._partly(losses, student, teacher, batch)
        terms = self._compared(student, teacher, batch)
        return Summands({"task": Term(losses.mean(), self._task_weight)} | terms)

    def _compared(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        if self._needs.compares_samples and self._shares > 1:
            student, teacher, batch = self._whole(student), self._whole(teacher), self._whole(batch)
        terms: dict[str, Term] = self._method(student, teacher, batch)  # type: ignore[misc]
        return terms

    def _partly(self, losses: Tensor, student: Outputs, teacher: Outputs, batch: Batch) -> Summands:
        """Some samples have no answer."""
        known: Tensor = teacher.known  # type: ignore[assignment]
        terms = {
            "task": Term((losses * known).mean(), self._task_weight),
            "unanswered": Term((losses * ~known).mean(), 1.0),
        }
        found, skipped = self._answered(student, teacher, batch)
        return Summands(terms | found, skipped)

    def _answered(self, student: Outputs, teacher: Outputs, batch: Batch) -> tuple[dict[str, Term], int]:
        """The terms of the answered samples, times their share, and how many are not.

        The batch is gathered for every method: ranks have unequally many answers.
        """
        if self._shares > 1:
            student, teacher, batch = self._whole(student), self._whole(teacher), self._whole(batch)
        known: Tensor = teacher.known  # type: ignore[assignment]
        index = known.nonzero()[:, 0]  # waits for the accelerator: only where answers may be missing
        count, all_of_them = len(index), len(known)
        if count < self._needs.at_least or self._method is None:
            return {}, all_of_them - count
        select: Callable[[Tensor], Tensor] = lambda part: part.index_select(0, index)  # noqa: E731
        ours, theirs = _mapped(select, student._replace(known=None)), _mapped(select, teacher._replace(known=None))
        found: dict[str, Term] = self._method(ours, theirs, _mapped(select, batch))
        share = count / all_of_them
        return {name: Term(term.value * share, term.weight) for name, term in found.items()}, all_of_them - count

    def whole(self, module: nn.Module, answers: tuple[Outputs, ...]) -> Outputs:
        """What a module that sees the whole batch says of this rank's part of it.

        Args:
            module: Outputs of several networks → outputs of the same samples.
            answers: Of this rank's part.
        """
        if self._shares == 1:
            said: Outputs = module(answers)
            return said
        count = len(answers[0].logits)
        here = slice(self._fabric.global_rank * count, (self._fabric.global_rank + 1) * count)
        part: Outputs = _mapped(lambda value: value[here], module(tuple(self._whole(answer) for answer in answers)))
        return part

    def _whole(self, part: Any) -> Any:
        """Rank parts (world, n, …) as one batch (world · n, …), in the order of a single process."""
        return _mapped(self._gathered, part)

    def _gathered(self, value: Tensor) -> Tensor:
        parts: Any = self._fabric.all_gather(value, sync_grads=value.requires_grad)
        whole: Tensor = parts.flatten(0, 1)
        return whole


def _rolled(part: Any, by: int) -> Any:
    """Each sample replaced by the one that follows it ``by`` places later."""
    return _mapped(lambda value: value.roll(-by, 0), part)


def _mapped(function: Callable[[Tensor], Tensor], part: Any) -> Any:
    """``function`` of every tensor in outputs or a batch."""
    if isinstance(part, Tensor):
        return function(part)
    if isinstance(part, tuple):
        return type(part)(*(_mapped(function, value) for value in part))
    return None if part is None else {role: _mapped(function, value) for role, value in part.items()}
