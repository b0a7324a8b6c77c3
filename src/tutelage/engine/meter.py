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
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._weights: list[float] = []
        self._steps = 0
        self._count = 0

    def add(self, terms: Mapping[str, Term], *, correct: Tensor, count: int) -> None:
        """Add a batch of ``count`` samples of which ``correct`` () were classified rightly."""
        values = torch.stack([correct.float(), *(term.value.detach().float() for term in terms.values())])
        self._names = list(terms)
        self._weights = [term.weight for term in terms.values()]
        self._sums = values if self._sums is None else self._sums + values
        self._steps += 1
        self._count += count

    def read(self, average: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, Any]:
        """Accuracy, the weighted sum and each term's mean and last weight; starts anew.

        Args:
            average: Over the ranks, which hold equal parts of every batch; all of them must read together.
        """
        if self._sums is None:
            return {}
        correct, *sums = average(self._sums).tolist()  # the one place where the training loop waits
        values = [total / self._steps for total in sums]
        reading = {
            "accuracy": correct / self._count,
            "loss": sum(v * w for v, w in zip(values, self._weights, strict=True)),
            "terms": {
                name: {"value": value, "weight": weight}
                for name, value, weight in zip(self._names, values, self._weights, strict=True)
            },
        }
        self.__init__()  # type: ignore[misc]
        return reading

    def state_dict(self) -> dict[str, Any]:
        """All that it holds."""
        return {
            "names": self._names,
            "sums": self._sums,
            "weights": self._weights,
            "steps": self._steps,
            "count": self._count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)
