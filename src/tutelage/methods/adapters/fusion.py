"""The fusion modules of ReviewKD: what a student's stage and all deeper ones say together of the teacher's stage.

Layers as in CIFAR-100/model/reviewkd.py of https://github.com/dvlab-research/ReviewKD@cede6ea.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Fusion"]


class Fusion(nn.Module):
    """Mixes a map of the student with what came from the deeper ones, by weights that every place has for itself.

    Args:
        inputs: Channels of the student's map.
        width: Channels of what is passed on, the same for all modules of a student.
        outputs: Channels of the teacher's map.
        deeper: Whether something comes from deeper maps; to the deepest nothing does.

    Example:
        >>> fused, passed_on = Fusion(4, 8, 6, deeper=False)(torch.zeros(2, 4, 4, 4), None, (2, 2))
        >>> fused.shape, passed_on.shape
        (torch.Size([2, 6, 2, 2]), torch.Size([2, 8, 2, 2]))
    """

    def __init__(self, inputs: int, width: int, outputs: int, *, deeper: bool) -> None:
        super().__init__()
        self.enter = _conv_bn(inputs, width, 1)
        self.leave = _conv_bn(width, outputs, 3)
        self.attention = nn.Conv2d(2 * width, 2, 1) if deeper else None

    def forward(self, x: Tensor, deeper: Tensor | None, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's map, and what is passed on to the next shallower module.

        Args:
            x: ``(n, inputs, h, w)`` of the student.
            deeper: What the next deeper module passed on; None for the deepest.
            size: Height and width of the teacher's map.
        """
        x = self.enter(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, x.shape[2:])
            shares = self.attention(torch.cat([x, deeper], 1)).sigmoid()
            x = x * shares[:, :1] + deeper * shares[:, 1:]
        if x.shape[2:] != size:
            x = F.interpolate(x, size)
        return self.leave(x), x


def _conv_bn(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))
