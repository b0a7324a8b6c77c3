"""Students of the runs that are killed: child processes import them by name."""

import torch
from torch import Tensor, nn


def with_dropout(num_classes: int) -> nn.Module:
    """A student whose every step draws random numbers."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, num_classes))


def without_norm(num_classes: int) -> nn.Module:
    """A student without batch norm, so that two ranks can equal one."""
    maps = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(8, 16, 3, padding=1), nn.Tanh())
    network = nn.Sequential(maps, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, num_classes))
    network.taps = {"stage1": "0.1", "stage2": "0", "embedding": "2"}  # type: ignore[assignment]
    return network


class Counting(nn.Module):
    """A student that counts the batches it was trained on."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten())
        self.hidden, self.head = nn.Linear(128, width), nn.Linear(width, num_classes)
        self.register_buffer("batches", torch.zeros(()))
        self.taps = {"embedding": "hidden"}

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        self.batches += self.training
        logits: Tensor = self.head(self.hidden(self.body(images)).relu())
        return logits


def counting(num_classes: int) -> nn.Module:
    """One with an embedding of 16 numbers."""
    return Counting(num_classes, 16)


def counting_wide(num_classes: int) -> nn.Module:
    """Its peer, of another width."""
    return Counting(num_classes, 24)
