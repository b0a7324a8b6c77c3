"""The networks of the literature, by name: one literal dict.

Every builder takes ``num_classes`` and ``in_channels`` and returns a `StagedNetwork`: it returns logits,
says in ``taps`` where its features are, and in ``head`` which is its last linear layer.

Example:
    >>> ZOO["resnet8"](num_classes=10).taps["embedding"]
    'fc:in'
"""

from collections.abc import Callable

from tutelage.models.zoo.mobilenet import (
    mobilenetv1_x025,
    mobilenetv1_x05,
    mobilenetv1_x075,
    mobilenetv1_x1,
    mobilenetv2,
)
from tutelage.models.zoo.resnet import (
    resnet8,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)
from tutelage.models.zoo.shufflenet import shufflenetv1, shufflenetv2
from tutelage.models.zoo.small import digits_large, digits_small
from tutelage.models.zoo.staged import StagedNetwork
from tutelage.models.zoo.vgg import vgg8, vgg13
from tutelage.models.zoo.wrn import wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2

__all__ = ["ZOO", "StagedNetwork"]

ZOO: dict[str, Callable[..., StagedNetwork]] = {
    "digits_large": digits_large,
    "digits_small": digits_small,
    "mobilenetv1_x025": mobilenetv1_x025,
    "mobilenetv1_x05": mobilenetv1_x05,
    "mobilenetv1_x075": mobilenetv1_x075,
    "mobilenetv1_x1": mobilenetv1_x1,
    "mobilenetv2": mobilenetv2,
    "resnet110": resnet110,
    "resnet14": resnet14,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet32x4": resnet32x4,
    "resnet44": resnet44,
    "resnet50": resnet50,
    "resnet56": resnet56,
    "resnet8": resnet8,
    "resnet8x4": resnet8x4,
    "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2,
    "vgg13": vgg13,
    "vgg8": vgg8,
    "wrn_16_1": wrn_16_1,
    "wrn_16_2": wrn_16_2,
    "wrn_40_1": wrn_40_1,
    "wrn_40_2": wrn_40_2,
}
"""Name → builder; ``digits_…`` default to 10 classes and 1 channel, the others to 3 channels."""
