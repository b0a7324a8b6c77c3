"""Your own method, run by the engine beside those that are there: a config and a module.

    python examples/own_method.py

The engine runs the networks, adds the cross-entropy, gathers batches over ranks, saves, resumes and writes the numbers.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from tutelage.engine import OptimizerConfig, StageConfig, StudentConfig, start
from tutelage.methods import METHODS, KDConfig, Method, Needs, Summable
from tutelage.recipes import digits, with_method
from tutelage.types import Batch, Outputs, Shapes, Term


@dataclass(frozen=True, kw_only=True)
class DirectionConfig(Summable):
    """Settings; ``Summable`` lets it be added to others, and ``task_weight`` is that of the cross-entropy beside it."""

    name: ClassVar[str] = "direction"
    weight: float = 1.0
    task_weight: float = 1.0

    def build(self, student: Shapes, teacher: Shapes) -> "Direction":
        """Make the module for networks of these shapes, by role and without the batch."""
        return Direction(self, nn.Linear(student["embedding"][0], teacher["embedding"][0]))


class Direction(Method):
    """The student's embedding is to point, through a linear map that is trained too, where the teacher's points."""

    def __init__(self, config: DirectionConfig, adapter: nn.Linear) -> None:
        super().__init__(Needs(roles=("embedding",)))
        self.config, self.adapter = config, adapter

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term; the page shows its size beside that of the cross-entropy."""
        ours, theirs = self.adapter(student.taps["embedding"]), teacher.taps["embedding"].detach()
        gap = 1 - F.cosine_similarity(ours, theirs, dim=1)
        return {"direction": Term(gap.mean(), self.config.weight)}


METHODS[DirectionConfig.name] = DirectionConfig  # so that config.json can be read again


def main() -> None:
    """Labels alone, KD, the own method, and the sum of the two."""
    out = Path(tempfile.mkdtemp())
    base = replace(digits(), stages=(StageConfig(epochs=15, optimizer=OptimizerConfig(lr=0.1)),))
    start(replace(base, student=StudentConfig(model="zoo:digits_large")), out / "teacher")
    for method in (None, KDConfig(), DirectionConfig(), KDConfig() + DirectionConfig(weight=0.5)):
        run = with_method(base, method, out / "teacher")
        result = start(run, out / (method.name if method else "ce"))
        print(f"{result['method']}: {result['accuracy']['last']['test']:.1%}")
    print(f"everything is in {out}: tutelage report {out}")


if __name__ == "__main__":
    main()
