"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146).

Definition: https://github.com/HobbitLong/RepDistiller@b84f547 (models/wrn.py), without dropout. ``wrn_d_w``
has depth ``d = 6 b + 4``: b blocks in each of three stages of 16 w, 32 w and 64 w channels. Batch norm and
ReLU come before a convolution, so a stage ends in a sum and not in a ReLU: ``stage1`` … are these sums, as
in the reference. The batch norm and ReLU of the last sum are the ``neck``.

Every builder takes the number of classes and of input channels.

Letters: n samples, c and d channels, h and u height, w and v width.

Example:
    >>> import torch
    >>> wrn_16_1(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.models.zoo.staged import StagedNetwork, init_fan_out

__all__ = ["PreActivationBlock", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"]


class PreActivationBlock(nn.Module):
    """Twice batch norm, ReLU and a 3x3 convolution; beside a shortcut.

    Where the number of channels changes, the shortcut is a 1x1 convolution of the activated input.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Step of the first convolution.

    Example:
        >>> import torch
        >>> PreActivationBlock(16, 32, stride=2)(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 32, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """The sum of both branches, not activated."""
        active = F.relu(self.bn1(x))
        y: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.project is None else self.project(active))


def _wrn(blocks: int, widen: int, num_classes: int, in_channels: int) -> StagedNetwork:
    channels = 16
    stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    stages = []
    for width, stride in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
        stage = nn.Sequential(PreActivationBlock(channels, width, stride))
        stage.extend(PreActivationBlock(width, width, 1) for _ in range(blocks - 1))
        stages.append(stage)
        channels = width
    neck = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    network = StagedNetwork(stem, stages, neck, channels, num_classes)
    init_fan_out(network, head_bias=False)
    return network


def wrn_16_1(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Depth 16, width 1: 180,916 parameters for 100 classes."""
    return _wrn(2, 1, num_classes, in_channels)


def wrn_16_2(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Depth 16, width 2: 703,284 parameters for 100 classes."""
    return _wrn(2, 2, num_classes, in_channels)


def wrn_40_1(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Depth 40, width 1: 569,780 parameters for 100 classes."""
    return _wrn(6, 1, num_classes, in_channels)


def wrn_40_2(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Depth 40, width 2: 2,255,156 parameters for 100 classes."""
    return _wrn(6, 2, num_classes, in_channels)
