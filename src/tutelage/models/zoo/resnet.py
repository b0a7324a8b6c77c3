"""Residual networks for small images (He et al. 2016, arXiv:1512.03385).

Definition: https://github.com/HobbitLong/RepDistiller@b84f547 (models/resnet.py, models/resnetv2.py), the
code of the tables of Tian et al. 2020 (arXiv:1910.10699). A 3x3 stem without pooling, the first stage at
full size, each later one at half the size of the one before, and a projection (1x1 convolution and batch
norm) wherever the shape changes. A network of depth ``6 b + 2`` has b blocks in each of its three stages.

Every builder takes the number of classes and of input channels.

Letters: n samples, c and d channels, h and u height, w and v width.

Example:
    >>> import torch
    >>> resnet8(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.models.zoo.staged import StagedNetwork, conv_bn, conv_bn_relu, init_fan_out

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        inputs: Channels that come in.
        width: Channels of both convolutions; ``width`` channels go out.
        stride: Step of the first convolution.

    Example:
        >>> import torch
        >>> BasicBlock(16, 32, stride=2)(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 32, 4, 4])
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, width, stride=stride)
        self.second = conv_bn(width, width)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """Features after the last ReLU."""
        y = F.relu(self.first(x))
        return F.relu(self.second(y) + self.shortcut(x))


class Bottleneck(nn.Module):
    """Down to ``width`` channels, a 3x3 convolution there, and up to four times ``width``; beside a shortcut.

    Args:
        inputs: Channels that come in.
        width: Channels of the 3x3 convolution; ``4 * width`` go out.
        stride: Step of the 3x3 convolution.

    Example:
        >>> import torch
        >>> Bottleneck(64, 32, stride=2)(torch.zeros(2, 64, 8, 8)).shape
        torch.Size([2, 128, 4, 4])
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.down = conv_bn(inputs, width, 1)
        self.middle = conv_bn(width, width, stride=stride)
        self.up = conv_bn(width, 4 * width, 1)
        self.shortcut = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """Features after the last ReLU."""
        y = F.relu(self.down(x))
        y = F.relu(self.middle(y))
        return F.relu(self.up(y) + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    same_shape = inputs == outputs and stride == 1
    return nn.Identity() if same_shape else conv_bn(inputs, outputs, 1, stride=stride)


def _resnet(
    block: type[BasicBlock] | type[Bottleneck],
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    num_classes: int,
    in_channels: int,
) -> StagedNetwork:
    """A stem of ``widths[0]`` channels and one stage for every further width."""
    stem, *rest = widths
    channels = stem
    stages = []
    for number, (width, depth) in enumerate(zip(rest, depths, strict=True)):
        blocks = []
        for i in range(depth):
            blocks.append(block(channels, width, stride=2 if number > 0 and i == 0 else 1))
            channels = width * block.expansion
        stages.append(nn.Sequential(*blocks))
    network = StagedNetwork(conv_bn_relu(in_channels, stem), stages, nn.Identity(), channels, num_classes)
    init_fan_out(network)
    return network


def _thin(blocks: int, num_classes: int, in_channels: int) -> StagedNetwork:
    return _resnet(BasicBlock, (16, 16, 32, 64), (blocks,) * 3, num_classes, in_channels)


def _four_times(blocks: int, num_classes: int, in_channels: int) -> StagedNetwork:
    return _resnet(BasicBlock, (32, 64, 128, 256), (blocks,) * 3, num_classes, in_channels)


def resnet8(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 1 block, 16, 32 and 64 channels: 83,892 parameters for 100 classes."""
    return _thin(1, num_classes, in_channels)


def resnet14(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 2 blocks, 16, 32 and 64 channels: 181,108 parameters for 100 classes."""
    return _thin(2, num_classes, in_channels)


def resnet20(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 3 blocks, 16, 32 and 64 channels: 278,324 parameters for 100 classes."""
    return _thin(3, num_classes, in_channels)


def resnet32(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 5 blocks, 16, 32 and 64 channels: 472,756 parameters for 100 classes."""
    return _thin(5, num_classes, in_channels)


def resnet44(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 7 blocks, 16, 32 and 64 channels: 667,188 parameters for 100 classes."""
    return _thin(7, num_classes, in_channels)


def resnet56(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 9 blocks, 16, 32 and 64 channels: 861,620 parameters for 100 classes."""
    return _thin(9, num_classes, in_channels)


def resnet110(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 18 blocks, 16, 32 and 64 channels: 1,736,564 parameters for 100 classes."""
    return _thin(18, num_classes, in_channels)


def resnet8x4(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 1 block, 64, 128 and 256 channels: 1,233,540 parameters for 100 classes."""
    return _four_times(1, num_classes, in_channels)


def resnet32x4(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three stages of 5 blocks, 64, 128 and 256 channels: 7,433,860 parameters for 100 classes."""
    return _four_times(5, num_classes, in_channels)


def resnet50(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Four stages of bottlenecks as for ImageNet, a 3x3 stem: 23,705,252 parameters for 100 classes."""
    return _resnet(Bottleneck, (64, 64, 128, 256, 512), (3, 4, 6, 3), num_classes, in_channels)
