"""What is minimised: cross-entropy with the labels, and the terms of a method.

Over several ranks a method that compares samples is given the whole batch, gathered with gradient: every rank
computes the same relation loss, and DDP's mean of the gradients is then exactly the single-process gradient.
(A gather without gradient gives half of it at two ranks.) Cross-entropy stays local: its mean over equal parts
is the mean over the batch.
"""

from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.methods import MethodConfig
from tutelage.types import Batch, Outputs, Term

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Objective"]


class Objective:
    """Terms of a batch.

    Args:
        fabric: Knows the ranks.
        config: Of the method, or ``None`` for labels alone.
        method: The module, wrapped for DDP where it has weights; ``None`` for labels alone.
        compares_samples: Whether the method must see the whole batch.
    """

    def __init__(
        self,
        fabric: "Fabric",
        config: MethodConfig | None,
        method: nn.Module | None,
        *,
        compares_samples: bool = False,
    ) -> None:
        self._fabric = fabric
        self._method = method
        self._gather = compares_samples and fabric.world_size > 1
        self._task_weight = config.task_weight if config else 1.0

    def __call__(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Term]:
        """The terms by name; ``task`` is the cross-entropy."""
        task = F.cross_entropy(student.logits.float(), batch.labels)
        terms = {"task": Term(task, self._task_weight)}
        if self._method is None or teacher is None:
            return terms
        if self._gather:
            student, teacher, batch = self._whole(student), self._whole(teacher), self._whole(batch)
        found: dict[str, Term] = self._method(student, teacher, batch)
        return terms | found

    def _whole(self, part: Any) -> Any:
        """Rank parts (world, n, …) as one batch (world · n, …), in the order of a single process."""
        if isinstance(part, Tensor):
            gathered: Any = self._fabric.all_gather(part, sync_grads=part.requires_grad)
            return gathered.flatten(0, 1)
        if isinstance(part, tuple):
            return type(part)(*map(self._whole, part))
        return None if part is None else {role: self._whole(value) for role, value in part.items()}
