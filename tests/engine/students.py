"""Students of the runs that are killed: child processes import them by name."""

from torch import nn


def with_dropout(num_classes: int) -> nn.Module:
    """A student whose every step draws random numbers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, num_classes))


def without_norm(num_classes: int) -> nn.Module:
    """A student without batch norm, so that two ranks can equal one."""
    maps = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(8, 16, 3, padding=1), nn.Tanh())
    network = nn.Sequential(maps, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes))
    network.taps = {"stage2": "0", "embedding": "2"}  # type: ignore[assignment]
    return network
