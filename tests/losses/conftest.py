"""What the tests of the losses share."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor


@pytest.fixture
def wave() -> Callable[..., Tensor]:
    """Numbers that every machine can rebuild: sin(0.37 k² + phase) for k = 1, 2, …, in float64."""

    def build(*shape: int, phase: float = 0.0) -> Tensor:
        k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
        return torch.sin(0.37 * k * k + phase).reshape(shape)

    return build
