"""VGG networks for small images (Simonyan and Zisserman 2015, arXiv:1409.1556), with batch norm.

Definition: https://github.com/HobbitLong/RepDistiller@b84f547 (models/vgg.py, ``vgg8_bn`` and
``vgg13_bn``). Five groups of convolutions of 64 to 512 channels; the image is halved before the second,
third and fourth. The first group is the stem, so that ``stage1`` … ``stage4`` are the features 1 to 4 of
the reference. (If the image is 64 high, the reference halves it before the fifth group too; this network
does not look at the height.)

Every builder takes the number of classes and of input channels.

Example:
    >>> import torch
    >>> vgg8(num_classes=100)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 100])
"""

from torch import nn

from tutelage.models.zoo.staged import StagedNetwork, init_fan_out

__all__ = ["vgg8", "vgg13"]


def _group(inputs: int, outputs: int, depth: int, *, halve: bool) -> nn.Sequential:
    """``depth`` times convolution (its bias is idle before batch norm, the reference has it), norm, ReLU."""
    group = nn.Sequential()
    if halve:
        group.append(nn.MaxPool2d(2))
    for i in range(depth):
        conv = nn.Conv2d(inputs if i == 0 else outputs, outputs, 3, padding=1)
        group.extend([conv, nn.BatchNorm2d(outputs), nn.ReLU()])
    return group


def _vgg(depth: int, num_classes: int, in_channels: int) -> StagedNetwork:
    stem = _group(in_channels, 64, depth, halve=False)
    stages = [
        _group(64, 128, depth, halve=True),
        _group(128, 256, depth, halve=True),
        _group(256, 512, depth, halve=True),
        _group(512, 512, depth, halve=False),
    ]
    network = StagedNetwork(stem, stages, nn.Identity(), 512, num_classes)
    init_fan_out(network, head_std=0.01, head_bias=False)
    return network


def vgg8(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """One convolution a group: 3,965,028 parameters for 100 classes."""
    return _vgg(1, num_classes, in_channels)


def vgg13(num_classes: int, in_channels: int = 3) -> StagedNetwork:
    """Two convolutions a group: 9,462,180 parameters for 100 classes."""
    return _vgg(2, num_classes, in_channels)
