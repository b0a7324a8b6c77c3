"""Networks that learn from each other, one a rank: each rank runs its own on the whole batch and hears the others.

Every rank holds all networks and reckons all terms, but what the others say comes to it without gradient: so its own
network is the only one that moves there, and methods, metrics and ensembles are the same on every rank. The weights of
the others are old until :meth:`Apart.catch_up`, which whoever judges or saves them calls first.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from tutelage.models import Network
from tutelage.types import Outputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Apart", "catch_up"]


class Apart(nn.Module):
    """The student and its peers, of which this rank runs one; it is not wrapped for the ranks, which share no weights.

    Args:
        networks: The student first, as many as there are ranks.
        roles: The features that they hand out.
        fabric: Knows the ranks.
    """

    def __init__(self, networks: Sequence[Network], roles: Sequence[str], fabric: "Fabric") -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self._fabric, self._roles = fabric, ("logits", *roles)
        self._shapes = [[network.shapes[role] for role in self._roles] for network in networks]

    def forward(self, images: Shaped[Tensor, "n c h w"]) -> tuple[Outputs, ...]:
        """What each says of the images, the student first; only this rank's own has a gradient."""
        with self._fabric.autocast():
            own: Outputs = self.networks[self._fabric.global_rank](images)
        kind = torch.get_default_dtype()  # what Fabric returns from a module that it wraps
        said = [own.logits.to(kind), *(own.taps[role].to(kind) for role in self._roles[1:])]
        return tuple(self._heard(number, said) for number in range(len(self.networks)))

    def _heard(self, number: int, own: list[Tensor]) -> Outputs:
        """The own outputs as they are, or those of another rank."""
        shapes = self._shapes[number]
        widths, mine = [shape.numel() for shape in map(torch.Size, shapes)], number == self._fabric.global_rank
        if mine:
            sent = torch.cat([value.detach().flatten(1) for value in own], 1)
        else:
            sent = own[0].new_empty(len(own[0]), sum(widths))
        torch.distributed.broadcast(sent, src=number)
        parts = torch.split(sent, widths, 1)
        values = own if mine else [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        return Outputs(values[0], dict(zip(self._roles[1:], values[1:], strict=True)))

    @torch.no_grad()
    def catch_up(self) -> None:
        """Give every rank the weights and statistics of every network, as the rank has them that runs it."""
        for number, network in enumerate(self.networks):
            for value in network.state_dict().values():
                sent = value.contiguous()  # weights in channels_last are not
                torch.distributed.broadcast(sent, src=number)
                value.copy_(sent)


def catch_up(learner: nn.Module) -> None:
    """Let all ranks have the weights of all networks, where each rank runs one; all of them must call it.

    Args:
        learner: What is trained; nothing is done where every rank runs all of it.
    """
    if isinstance(learner, Apart):
        learner.catch_up()
