"""A teacher of other classes: it knows the digits 0 to 4, the student is to learn 5 to 9.

    python examples/other_classes.py

What it says of classes is of no use here; how it sees images relate is. REFILLED has two stages: first the student's
embedding by the teacher's comparisons of images, then the classifier by its class centres and the labels.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from tutelage.engine import OptimizerConfig, StageConfig, StudentConfig, start
from tutelage.errors import LabelSpaceError
from tutelage.methods import KDConfig, RefilledConfig
from tutelage.recipes import digits, with_method


def main() -> None:
    """Labels alone, REFILLED, and KD, which cannot."""
    out = Path(tempfile.mkdtemp())
    base = replace(digits(), stages=(StageConfig(epochs=15, optimizer=OptimizerConfig(lr=0.1)),))
    low, high = (replace(base, data=replace(base.data, classes=classes)) for classes in ("0:5", "5:10"))
    start(replace(low, student=StudentConfig(model="zoo:digits_large")), out / "teacher")
    for name, method in {"labels alone": None, "refilled": RefilledConfig()}.items():
        result = start(with_method(high, method, out / "teacher"), out / name.replace(" ", "_"))
        stages = " → ".join(stage["name"] for stage in result["stages"])
        print(f"{name} ({stages}): {result['accuracy']['last']['test']:.1%} of the digits 5 to 9")
    try:
        start(with_method(high, KDConfig(), out / "teacher"), out / "kd")
    except LabelSpaceError as error:  # in the first second, before anything is trained
        print(f"kd: {error}")
    print(f"everything is in {out}: tutelage report {out}")


if __name__ == "__main__":
    main()
