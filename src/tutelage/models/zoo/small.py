"""Two small networks for the digits that come with scikit-learn: 8x8 pixels, 1 channel, 10 classes.

They are ours: no paper defines them.
"""

from torch import nn

from tutelage.models.zoo.resnet import BasicBlock
from tutelage.models.zoo.staged import StagedNetwork, conv_bn_relu, init_fan_out

__all__ = ["digits_large", "digits_small"]


def digits_large(num_classes: int = 10, in_channels: int = 1) -> StagedNetwork:
    """A teacher: two residual stages of 32 and 64 channels, 77,000 parameters."""
    stages = [BasicBlock(32, 32, stride=1), BasicBlock(32, 64, stride=2)]
    network = StagedNetwork(conv_bn_relu(in_channels, 32), stages, nn.Identity(), 64, num_classes)
    init_fan_out(network)
    return network


def digits_small(num_classes: int = 10, in_channels: int = 1) -> StagedNetwork:
    """A student: 1,000 parameters."""
    stages = [conv_bn_relu(4, 8, stride=2), conv_bn_relu(8, 8, stride=2)]
    network = StagedNetwork(conv_bn_relu(in_channels, 4, stride=1), stages, nn.Identity(), 8, num_classes)
    init_fan_out(network)
    return network
