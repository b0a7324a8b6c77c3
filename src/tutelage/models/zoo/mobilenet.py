"""MobileNet (Howard et al. 2017, arXiv:1704.04861) and MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

Version 1 is that of https://github.com/njulus/REFILLED@be649aa (networks/mobile_net.py), for large images,
which it halves five times. All channels are multiplied by the width and rounded down. Weights are drawn as
torch draws them (the release defines another draw and never calls it).

Version 2 is that of https://github.com/HobbitLong/RepDistiller@b84f547 (models/mobilenetv2.py), for small
images, which it halves four times. A block ends without a ReLU: ``stage1`` … are read there, as in the
reference.

Every builder takes the number of classes and of input channels.

Letters: n samples, c and d channels, h and u height, w and v width.

Example:
    >>> import torch
    >>> mobilenetv2(num_classes=100)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
"""

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.zoo.staged import StagedNetwork, conv_bn, conv_bn_relu, init_fan_out

__all__ = [
    "InvertedResidual",
    "mobilenetv1_x025",
    "mobilenetv1_x05",
    "mobilenetv1_x075",
    "mobilenetv1_x1",
    "mobilenetv2",
    "separable",
]

EXPANSION = 6
"""Channels inside a block of version 2, in multiples of those that come in (the first block: 1)."""


class InvertedResidual(nn.Module):
    """MobileNetV2: 1x1 to more channels, 3x3 depthwise, 1x1 to few channels without ReLU.

    The input is added where the shape stays the same.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Step of the depthwise convolution.
        expansion: Channels in the middle, in multiples of ``inputs``.

    Example:
        >>> import torch
        >>> InvertedResidual(16, 24, stride=2, expansion=6)(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 24, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.branch = nn.Sequential(
            # Also where expansion is 1 and the paper leaves it out: the reference has it.
            conv_bn_relu(inputs, middle, 1),
            conv_bn_relu(middle, middle, stride=stride, groups=middle),
            conv_bn(middle, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d u v"]:
        """Features, not activated."""
        y: Tensor = self.branch(x)
        return x + y if self.adds else y


def mobilenetv2(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 0.5, expansion 6: 812,836 parameters for 100 classes."""
    channels = 16
    stem = conv_bn_relu(in_channels, channels, stride=2)
    # A row a group of blocks: stage, expansion, channels (half of the paper's), blocks, stride of the first.
    groups = [
        (1, 1, 8, 1, 1),
        (1, EXPANSION, 12, 2, 1),
        (2, EXPANSION, 16, 3, 2),
        (3, EXPANSION, 32, 4, 2),
        (3, EXPANSION, 48, 3, 1),
        (4, EXPANSION, 80, 3, 2),
        (4, EXPANSION, 160, 1, 1),
    ]
    stages = [nn.Sequential() for _ in range(4)]
    for stage, expansion, width, depth, stride in groups:
        for i in range(depth):
            block = InvertedResidual(channels, width, stride=stride if i == 0 else 1, expansion=expansion)
            stages[stage - 1].append(block)
            channels = width
    network = StagedNetwork(stem, stages, conv_bn_relu(channels, 1280, 1), 1280, num_classes)
    init_fan_out(network, head_std=0.01, head_bias=False)
    return network


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The block of version 1: a 3x3 convolution within each channel, then a 1x1 convolution over all channels.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Step of the 3x3 convolution.

    Returns:
        Both, each with batch norm and ReLU, in sequence.

    Example:
        >>> import torch
        >>> separable(16, 24, stride=2)(torch.zeros(2, 16, 8, 8)).shape
        torch.Size([2, 24, 4, 4])
    """
    depthwise = conv_bn_relu(inputs, inputs, stride=stride, groups=inputs)
    return nn.Sequential(depthwise, conv_bn_relu(inputs, outputs, 1))


def _mobilenetv1(width: float, num_classes: int, in_channels: int) -> StagedNetwork:
    channels = int(64 * width)
    first = int(32 * width)
    stem = nn.Sequential(conv_bn_relu(in_channels, first, stride=2), separable(first, channels, 1))
    stages = []
    for outputs, depth in ((128, 2), (256, 2), (512, 6), (1024, 2)):
        stage = nn.Sequential()
        for i in range(depth):
            stage.append(separable(channels, int(outputs * width), 2 if i == 0 else 1))
            channels = int(outputs * width)
        stages.append(stage)
    return StagedNetwork(stem, stages, nn.Identity(), channels, num_classes)


def mobilenetv1_x1(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 1: 3,309,476 parameters for 100 classes."""
    return _mobilenetv1(1.0, num_classes, in_channels)


def mobilenetv1_x075(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 0.75: 1,893,460 parameters for 100 classes."""
    return _mobilenetv1(0.75, num_classes, in_channels)


def mobilenetv1_x05(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 0.5: 869,892 parameters for 100 classes."""
    return _mobilenetv1(0.5, num_classes, in_channels)


def mobilenetv1_x025(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Width 0.25: 238,772 parameters for 100 classes."""
    return _mobilenetv1(0.25, num_classes, in_channels)
