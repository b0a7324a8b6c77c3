"""What OFD needs beside its loss: the connector of the student, and the margins of the teacher."""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from tutelage import losses
from tutelage.methods.adapters.places import channels_first, channels_of, common_places, pooled, same_places
from tutelage.teachers import Teacher
from tutelage.types import Batch

__all__ = ["Overhauled", "find_margins"]


class Overhauled(nn.Module):
    """The loss of OFD for one feature, after a 1×1 convolution and a batch norm on the student.

    Args:
        ours: Shape of the student's feature (with as many channels as come in).
        theirs: Shape of the teacher's, of the same kind.

    Example:
        >>> Overhauled((4, 8, 8), (6, 4, 4))(torch.zeros(2, 4, 8, 8), torch.ones(2, 6, 4, 4))
        tensor([96., 96.], grad_fn=<SumBackward1>)
    """

    margin: Tensor

    def __init__(self, ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        super().__init__()
        inputs, outputs, maps = channels_of(ours), channels_of(theirs), len(ours) == 3
        conv = nn.Conv2d(inputs, outputs, 1, bias=False) if maps else nn.Conv1d(inputs, outputs, 1, bias=False)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / outputs))
        self.connector = nn.Sequential(conv, nn.BatchNorm2d(outputs) if maps else nn.BatchNorm1d(outputs))
        self.places = common_places(ours, theirs)
        self.register_buffer("margin", torch.zeros(outputs))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One loss per sample, of features with their channels first; the larger is pooled to the smaller."""
        ours, theirs = same_places(student, teacher)
        return losses.overhaul(self.connector(ours), theirs, self.margin)


@torch.no_grad()
def find_margins(features: Mapping[str, Overhauled], teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
    """Set each margin to the mean of the teacher's negative activations of its channel; zero where there are none.

    The authors compute it from the batch norm before the ReLU, as if its output were normal; this is what it stands
    for, on a network of any make. Behind a ReLU it is zero.

    Args:
        features: Role → what reads it.
        teacher: Is asked about all images once.
        batches: Passes over the un-augmented training set.
    """
    sums = {role: torch.zeros(2, len(part.margin), dtype=torch.float64) for role, part in features.items()}
    for batch in batches():
        answer = teacher(batch)
        known = slice(None) if answer.known is None else answer.known
        for role, part in features.items():
            x = pooled(channels_first(answer.taps[role][known]).float(), part.places).transpose(0, 1).flatten(1)
            found = torch.stack([x.clamp_max(0).double().sum(1), (x < 0).sum(1).double()])
            sums[role] = sums[role].to(x.device) + found
    for role, part in features.items():
        total, count = sums[role]
        part.margin.copy_(total / count.clamp_min(1))
