"""Your own network as the student of a stored teacher, with features that you name.

    python examples/own_module.py

A network is named as python:MODULE:FACTORY, and the factory is called with num_classes (and in_channels, if it takes
that). So config.json can say how it was built, and `tutelage resume`, `evaluate` and `export` can build it again.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from tutelage.engine import OptimizerConfig, StageConfig, StudentConfig, start
from tutelage.methods import FitNetConfig, KDConfig
from tutelage.models import load_network
from tutelage.recipes import digits, with_method


class Small(nn.Module):
    """Normalised images (n, c, h, w) in, logits (n, k) out."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.second(self.first(x)).mean((2, 3)))


def main() -> None:
    """The same student by labels alone, and by the teacher's logits and its last feature map."""
    out = Path(tempfile.mkdtemp())
    # Data, batches and engine as in the recipe for digits; of its 40 epochs fewer.
    base = replace(digits(), stages=(StageConfig(epochs=15, optimizer=OptimizerConfig(lr=0.1)),))
    start(replace(base, student=StudentConfig(model="zoo:digits_large")), out / "teacher")
    # Roles are what methods read: "stage2" is here the output of the module `second`; "head:in" would be an input.
    # The embedding, the input of the last linear layer, is found without being named.
    own = replace(base, student=StudentConfig(model="python:own_module:Small", taps={"stage2": "second"}))
    for name, method in {"alone": None, "taught": KDConfig() + FitNetConfig(role="stage2", weight=10.0)}.items():
        result = start(with_method(own, method, out / "teacher"), out / name)
        print(f"{name}: {result['accuracy']['last']['test']:.1%} by {result['method']}")
    network = load_network(out / "taught")  # uint8 pixels in, logits and features by role out
    print(f"{type(network.model).__name__} with {network.num_parameters:,} weights, roles {', '.join(network.shapes)}")
    print(f"everything is in {out}: tutelage report {out}")


if __name__ == "__main__":
    main()
