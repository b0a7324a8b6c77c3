"""A teacher that may be asked so many times and no more."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.teachers.ledger import Ledger
from tutelage.teachers.protocol import CutOffError, Teacher
from tutelage.teachers.rows import distinct, pick, silence, spread
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["BudgetedTeacher"]


class BudgetedTeacher:
    """Sends samples while the budget lasts; each (id, view) counts once, over crashes, resumes and processes.

    It keeps no answers: put a :class:`CachedTeacher` around it, or a sample is sent again when it is asked again.

    Args:
        inner: The teacher that costs.
        ledger: Where calls are counted.
        budget: The most distinct (id, view) that are ever sent; ``None`` only counts them.
        price: Of one call.
        exhausted: ``"error"`` refuses a batch that does not fit whole; ``"skip"`` answers what it may, and
            ``known`` is False elsewhere.

    Attributes:
        calls: Samples that were sent.
        partial: Whether answers may be missing: ``known`` is then always given, so that all ranks can gather it.

    Raises:
        ConfigError: if the budget is not positive, or below what the ledger holds; if the price is negative.
        DataError: if the ledger is that of another teacher.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from tutelage.models import ModelCard, build_network
        >>> from tutelage.teachers import LiveTeacher
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "ledger.sqlite")
        >>> teacher = BudgetedTeacher(LiveTeacher(build_network(card)), ledger, budget=2, exhausted="skip")
        >>> ids = torch.arange(3)
        >>> teacher(Batch(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), ids, ids, 0 * ids)).known
        tensor([ True,  True, False])
    """

    def __init__(
        self,
        inner: Teacher,
        ledger: Ledger,
        *,
        budget: int | None,
        price: float = 0.0,
        exhausted: str = "error",
    ) -> None:
        if budget is not None and budget < 1:
            raise ConfigError(f"a budget of teacher calls must be at least 1, got {budget}: leave the teacher out")
        if not 0.0 <= price < float("inf"):
            raise ConfigError(f"the price of a teacher call must be 0 or more, got {price}")
        if exhausted not in ("error", "skip"):
            raise ConfigError(f"exhausted must be 'error' or 'skip', got {exhausted!r}")
        ledger.bind(inner.fingerprint)
        if budget is not None and len(ledger) > budget:
            raise ConfigError(
                f"the ledger {ledger.path} already holds {len(ledger)} calls, more than the budget of {budget}: "
                f"raise the budget"
            )
        self.labels: LabelSpace = inner.labels
        self.fingerprint: str = inner.fingerprint
        self.calls = 0
        self._inner, self._ledger = inner, ledger
        self._roles = [role for role in inner.shapes if role != "logits"]
        self.partial = exhausted == "skip"
        self._budget, self._price = budget, price

    @property
    def shapes(self) -> Shapes:
        """Shape of each output by role, without the batch dimension."""
        return self._inner.shapes

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on."""
        self._roles = list(roles)
        self._inner.listen(self._roles)

    def compile(self) -> None:
        """Compile what stands behind it."""
        self._inner.compile()

    def __call__(self, batch: Batch) -> Outputs:
        """Answer the batch, each (id, view) sent once.

        Raises:
            BudgetError: if the batch does not fit the budget, unless exhaustion is to be skipped.
        """
        first, which = distinct(batch.ids, batch.views)
        # In the order of the batch, so that the budget goes to those who come first.
        order = first.argsort()
        first, which = first[order], order.argsort()[which]
        single = pick(batch, first)
        ids, views = single.ids.cpu(), single.views.cpu()
        allowed = self._ledger.reserve(ids, views, budget=self._budget, cost=self._price, partly=self.partial)
        index = allowed.nonzero()[:, 0]
        if not len(index):
            return silence(batch, self._inner.shapes, self._roles)
        try:
            answer = self._inner(pick(single, index))
        except CutOffError as error:
            known = error.answer.known
            if known is not None:
                done = index[known.cpu()]
                self._ledger.pay(ids[done], views[done])
                self.calls += len(done)
            raise CutOffError(str(error), self._placed(error.answer, allowed, which)) from error
        self._ledger.pay(ids[index], views[index])
        self.calls += len(index)
        whole = self._placed(answer, allowed, which)
        return whole if self.partial else Outputs(whole.logits, whole.taps)

    def _placed(self, answer: Outputs, allowed: Tensor, which: Tensor) -> Outputs:
        """The answer to each sample of a batch, from that to the single ones that were sent."""
        device, place = answer.logits.device, (torch.cumsum(allowed, 0) - 1).clamp_min(0)
        sent = allowed.to(device)
        if answer.known is not None:
            sent = sent & answer.known[place.to(device)]
        which = which.to(device)
        return spread(answer, place.to(device)[which], sent[which])
