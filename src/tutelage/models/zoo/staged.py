"""The shape that all networks of the zoo have: stem, stages, neck, mean over the image, linear head.

Nothing here works in place: a hook on any module then keeps the value that the module returned. (In
training this costs no memory that stays: ReLU keeps its result for the backward pass, batch norm its input,
so that the tensor between them is freed either way.)

Letters: n samples, c channels, h height, w width, k classes.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["StagedNetwork", "conv_bn", "conv_bn_relu", "init_fan_out"]


class StagedNetwork(nn.Module):
    """A classifier whose parts are modules with short paths: ``stem``, ``stage1`` …, ``neck``, ``fc``.

    Args:
        stem: From the image to the first features.
        stages: Run one after the other; each is a place to read features from.
        neck: Between the last stage and the mean over the image; ``nn.Identity()`` if there is nothing.
        width: Channels that the neck returns: the size of the embedding.
        num_classes: Number of logits.

    Attributes:
        taps: Where each role is read: ``"stage1"`` … are the outputs of those modules,
            ``"embedding"`` is ``"fc:in"``, the input of the head.
        head: Path of the last linear layer.

    Example:
        >>> import torch
        >>> net = StagedNetwork(conv_bn_relu(3, 4), [conv_bn_relu(4, 8, stride=2)], nn.Identity(), 8, 10)
        >>> net(torch.zeros(2, 3, 6, 6)).shape
        torch.Size([2, 10])
        >>> net.taps
        {'stage1': 'stage1', 'embedding': 'fc:in'}
    """

    head = "fc"

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], neck: nn.Module, width: int, num_classes: int
    ) -> None:
        super().__init__()
        self._stages = [f"stage{i}" for i in range(1, len(stages) + 1)]
        self.taps = {name: name for name in self._stages} | {"embedding": f"{self.head}:in"}
        self.stem = stem
        for name, stage in zip(self._stages, stages, strict=True):
            self.add_module(name, stage)
        self.neck = neck
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The logits of a batch of images of any size that the strides permit."""
        x = self.stem(x)
        for name in self._stages:
            x = getattr(self, name)(x)
        x = self.neck(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def conv_bn(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution without bias that keeps the size (divided by the stride), and batch norm.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Side of the kernel, odd.
        stride: Step of the kernel.
        groups: Groups of channels that do not see each other; ``groups=inputs`` is depthwise.

    Returns:
        The two modules in sequence.

    Example:
        >>> sum(p.numel() for p in conv_bn(3, 8).parameters()) == 3 * 8 * 9 + 2 * 8
        True
    """
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """`conv_bn` and a ReLU.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        kernel: Side of the kernel, odd.
        stride: Step of the kernel.
        groups: Groups of channels that do not see each other; ``groups=inputs`` is depthwise.

    Returns:
        The three modules in sequence.

    Example:
        >>> import torch
        >>> conv_bn_relu(3, 8, stride=2)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 8, 16, 16])
    """
    return conv_bn(inputs, outputs, kernel, stride=stride, groups=groups).append(nn.ReLU())


def init_fan_out(network: nn.Module, *, head_std: float | None = None, head_bias: bool = True) -> None:
    r"""Draw the convolutions from :math:`N(0, 2 / (\text{outputs} \cdot \text{kernel area}))`, in place.

    Source: He et al. 2015 (arXiv:1502.01852), "fan out" form. Batch norm keeps its weight one and bias zero.

    Args:
        network: Its convolutions and linear layers are drawn.
        head_std: Standard deviation of the weights of linear layers; None leaves them as torch drew them.
        head_bias: False puts the biases of the linear layers to zero.

    Example:
        >>> net = conv_bn(64, 128)
        >>> init_fan_out(net)
        >>> abs(net[0].weight.std().item() - (2 / (128 * 9)) ** 0.5) < 1e-3
        True
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            if head_std is not None:
                nn.init.normal_(module.weight, std=head_std)
            if not head_bias:
                nn.init.zeros_(module.bias)
