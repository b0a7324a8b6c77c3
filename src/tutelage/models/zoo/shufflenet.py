"""ShuffleNet (Zhang et al. 2018, arXiv:1707.01083) and ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164).

Definition: https://github.com/HobbitLong/RepDistiller@b84f547 (models/ShuffleNetv1.py and ShuffleNetv2.py),
for small images: the stem is a 1x1 convolution to 24 channels that keeps the size, and each of the three
stages begins by halving it. Weights are drawn as torch draws them.

Every builder takes the number of classes and of input channels.

Letters: n samples, c and d channels, h and u height, w and v width.

Example:
    >>> import torch
    >>> shufflenetv2(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.models.zoo.staged import StagedNetwork, conv_bn, conv_bn_relu

__all__ = ["HalvingBlock", "ShuffleBlock", "SplitBlock", "shufflenetv1", "shufflenetv2"]


class ShuffleBlock(nn.Module):
    """ShuffleNet, version 1: 1x1 in groups, shuffle, 3x3 depthwise, 1x1 in groups; beside a shortcut.

    With stride 2 the shortcut is a 3x3 mean, and what it returns is appended to the channels, not added.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: 1 (then ``inputs`` must equal ``outputs``) or 2.
        groups: Groups of the 1x1 convolutions.
        groups_in: Groups of the first one of them, and of the shuffle.

    Example:
        >>> ShuffleBlock(24, 240, stride=2, groups=3, groups_in=1)(torch.zeros(2, 24, 8, 8)).shape
        torch.Size([2, 240, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, groups: int, groups_in: int) -> None:
        super().__init__()
        computed = outputs - inputs if stride == 2 else outputs
        # A quarter of what is computed, not of `outputs`: 54, not 60, in the first block, like the reference.
        middle = computed // 4
        self.squeeze = conv_bn_relu(inputs, middle, 1, groups=groups_in)
        self.shuffle = nn.ChannelShuffle(groups_in)
        # The paper has no ReLU after the depthwise convolution; the reference has.
        self.depthwise = conv_bn_relu(middle, middle, stride=stride, groups=middle)
        self.expand = conv_bn(middle, computed, 1, groups=groups)
        self.shortcut = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """Features after the last ReLU."""
        y: Tensor = self.expand(self.depthwise(self.shuffle(self.squeeze(x))))
        if self.shortcut is None:
            return F.relu(y + x)
        return F.relu(torch.cat([y, self.shortcut(x)], 1))


class SplitBlock(nn.Module):
    """ShuffleNetV2 at constant size: half of the channels pass unchanged, then all are shuffled.

    Args:
        channels: Channels that come in and go out, even.

    Example:
        >>> SplitBlock(116)(torch.zeros(2, 116, 8, 8)).shape
        torch.Size([2, 116, 8, 8])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            conv_bn_relu(half, half, 1), conv_bn(half, half, groups=half), conv_bn_relu(half, half, 1)
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Features after the shuffle."""
        same, changed = x.chunk(2, 1)
        shuffled: Tensor = self.shuffle(torch.cat([same, self.branch(changed)], 1))
        return shuffled


class HalvingBlock(nn.Module):
    """ShuffleNetV2 at half the size: two branches that both see all channels, then a shuffle.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out, even.

    Example:
        >>> HalvingBlock(24, 116)(torch.zeros(2, 24, 8, 8)).shape
        torch.Size([2, 116, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(conv_bn(inputs, inputs, stride=2, groups=inputs), conv_bn_relu(inputs, half, 1))
        self.long = nn.Sequential(
            conv_bn_relu(inputs, half, 1),
            conv_bn(half, half, stride=2, groups=half),
            conv_bn_relu(half, half, 1),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """Features after the shuffle."""
        shuffled: Tensor = self.shuffle(torch.cat([self.short(x), self.long(x)], 1))
        return shuffled


def shufflenetv1(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Three groups, stages of 240, 480 and 960 channels: 949,258 parameters for 100 classes."""
    channels, groups = 24, 3
    stages = []
    for width, depth in ((240, 4), (480, 8), (960, 4)):
        # The stem has 24 channels, too few to be worth three groups (section 3.2 of the paper).
        first = ShuffleBlock(channels, width, stride=2, groups=groups, groups_in=1 if channels == 24 else groups)
        stage = nn.Sequential(first)
        for _ in range(depth - 1):
            stage.append(ShuffleBlock(width, width, stride=1, groups=groups, groups_in=groups))
        stages.append(stage)
        channels = width
    return StagedNetwork(conv_bn_relu(in_channels, 24, 1), stages, nn.Identity(), channels, num_classes)


def shufflenetv2(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 1, stages of 116, 232 and 464 channels: 1,355,528 parameters for 100 classes."""
    channels = 24
    stages = []
    for width, depth in ((116, 3), (232, 7), (464, 3)):
        stage = nn.Sequential(HalvingBlock(channels, width))
        stage.extend(SplitBlock(width) for _ in range(depth))
        stages.append(stage)
        channels = width
    neck = conv_bn_relu(channels, 1024, 1)
    return StagedNetwork(conv_bn_relu(in_channels, 24, 1), stages, neck, 1024, num_classes)
