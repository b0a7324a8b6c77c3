"""Several teachers as one: the mean of what they say.

Letters: n samples, k classes.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.errors import ConfigError, LabelSpaceError
from tutelage.ops.precision import upcast
from tutelage.teachers.callable import LogitsTeacher
from tutelage.teachers.protocol import Teacher
from tutelage.types import Batch, Outputs

__all__ = ["AveragingTeacher", "mean_answer"]


class AveragingTeacher(LogitsTeacher):
    """Asks every teacher and answers with their mean; it has no features, since there is no mean of those.

    Args:
        teachers: At least two, of the same classes in the same order.
        mean: Of their logits or of their probabilities, see :func:`mean_answer`.

    Attributes:
        teachers: Whose mean it is.
        calls: Samples that were answered, each by all of them.

    Raises:
        ConfigError: if there are fewer than two.
        LabelSpaceError: if their classes differ.

    Example:
        >>> from tutelage.labels import LabelSpace
        >>> from tutelage.teachers import CallableTeacher
        >>> sure, unsure = (CallableTeacher(lambda images, z=z: [[z, 0.0]] * len(images), name=str(z),
        ...                                 labels=LabelSpace(("a", "b"))) for z in (4.0, 0.0))
        >>> one = torch.zeros(1, dtype=torch.int64)
        >>> AveragingTeacher([sure, unsure])(Batch(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), one, one, one)).logits
        tensor([[2., 0.]])
    """

    def __init__(self, teachers: Sequence[Teacher], *, mean: Literal["logits", "probabilities"] = "logits") -> None:
        if len(teachers) < 2:
            raise ConfigError(f"a mean of teachers needs at least two, got {len(teachers)}: name more")
        labels = teachers[0].labels
        for number, other in enumerate(teachers[1:], start=2):
            if labels.relation(other.labels) != "same":
                raise LabelSpaceError(
                    f"teachers that are averaged must have the same classes in the same order; the first has "
                    f"{len(labels)}, teacher {number} has {len(other.labels)}, and they share "
                    f"{len(labels.shared_with(other.labels))}: leave out one of them"
                )
        super().__init__(labels)
        self.teachers = tuple(teachers)
        self._mean = mean
        prints = "\n".join([mean, *sorted(teacher.fingerprint for teacher in teachers)])
        self.fingerprint = f"mean-{hashlib.sha256(prints.encode()).hexdigest()[:16]}"

    def compile(self) -> None:
        """Compile all of them."""
        for teacher in self.teachers:
            teacher.compile()

    def __call__(self, batch: Batch) -> Outputs:
        """Answer every sample of the batch."""
        self.calls += len(batch.ids)
        return Outputs(mean_answer([teacher(batch).logits for teacher in self.teachers], mean=self._mean), {})


def mean_answer(
    logits: Sequence[Float[Tensor, "n k"]], *, mean: Literal["logits", "probabilities"] = "logits"
) -> Float[Tensor, "n k"]:
    r"""What several teachers say together.

    .. math:: \bar z_i = \tfrac1m \sum_j z_{ij} \quad \text{or} \quad
              \bar z_i = \log \tfrac1m \sum_j \mathrm{softmax}(z_{ij})

    The softmax of mean logits is the geometric mean of the distributions, at every temperature; a teacher whose logits
    are larger counts more there. The softmax of the second is their arithmetic mean at temperature one only.

    Args:
        logits: class scores of each teacher for the same samples and classes.
        mean: of what.

    Returns:
        Class scores, at least float32.

    Example:
        >>> both = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()]
        >>> mean_answer(both, mean="probabilities").softmax(1), mean_answer(both).softmax(1)
        (tensor([[0.7000, 0.3000]]), tensor([[0.7500, 0.2500]]))
    """
    every = torch.stack([upcast(each) for each in logits])
    if mean == "logits":
        return every.mean(0)
    return every.log_softmax(2).logsumexp(0) - math.log(len(logits))
