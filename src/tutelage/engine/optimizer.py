"""What moves the weights of a stage."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from tutelage.engine.config import OptimizerConfig

__all__ = ["make_optimizer"]


def make_optimizer(config: OptimizerConfig, weights: list[nn.Parameter]) -> Optimizer:
    """The optimiser of a stage.

    Example:
        >>> import torch
        >>> type(make_optimizer(OptimizerConfig(name="adamw"), [nn.Parameter(torch.ones(1))])).__name__
        'AdamW'
    """
    if config.name == "adamw":
        return AdamW(weights, lr=config.lr, weight_decay=config.weight_decay, foreach=True)
    return SGD(
        weights,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        foreach=True,  # on CPUs too, where it is no default: the same bits in less time
    )
