"""Running means on the device: adding never waits for the accelerator, only reading does."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.types import Term

__all__ = ["Meter"]


class Meter:
    """Sums of the terms and of the right answers since it was last read.

    Its state can be saved, so that a resumed run writes the same metrics.

    Example:
        >>> meter = Meter()
        >>> meter.add({"task": Term(torch.tensor(2.0), 0.5)}, correct=torch.tensor(3), count=4)
        >>> meter.add({"task": Term(torch.tensor(4.0), 0.5)}, correct=torch.tensor(1), count=4)
        >>> meter.read()
        {'accuracy': 0.5, 'loss': 1.5, 'terms': {'task': {'value': 3.0, 'weight': 0.5}}}
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}
        self._correct: Tensor | None = None
        self._steps = 0
        self._count = 0
        self._skipped = 0

    def add(
        self, terms: Mapping[str, Term], *, correct: Tensor | None = None, count: int = 0, skipped: int = 0
    ) -> None:
        """Add a batch of ``count`` samples of which ``correct`` () were classified rightly.

        Args:
            terms: Of the batch; a term that is absent counts as zero.
            correct: How many were classified rightly; None where nothing is classified.
            count: Samples of the batch.
            skipped: Samples without an answer of the teacher.
        """
        for name, term in terms.items():
            value = term.value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._weights[name] = term.weight
        if correct is not None:
            self._correct = correct.float() if self._correct is None else self._correct + correct
        self._steps += 1
        self._count += count
        self._skipped += skipped

    def read(self, average: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Accuracy, the weighted sum and each term's mean and last weight; starts anew.

        Args:
            average: Over the ranks, which hold equal parts of every batch; all of them must read together.
        """
        if not self._steps:
            return {}
        right = [] if self._correct is None else [self._correct]
        stacked = torch.stack([*self._sums.values(), *right])
        sums = average(stacked).tolist()  # the one place where the training loop waits
        values = {name: total / self._steps for name, total in zip(self._sums, sums, strict=False)}
        reading: dict[str, Any] = {"accuracy": sums[-1] / self._count} if right else {}
        reading |= {
            "loss": sum(value * self._weights[name] for name, value in values.items()),
            "terms": {name: {"value": value, "weight": self._weights[name]} for name, value in values.items()},
        }
        if self._skipped:
            reading["unanswered"] = self._skipped
        self.__init__()  # type: ignore[misc]
        return reading

    def state_dict(self) -> dict[str, Any]:
        """All that it holds."""
        return {
            "sums": self._sums,
            "weights": self._weights,
            "correct": self._correct,
            "steps": self._steps,
            "count": self._count,
            "skipped": self._skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)
