"""A teacher that bills every image: a hard budget, a ledger of its calls, and answers that are never paid twice.

    python examples/costly_teacher.py

The teacher is a Python function, named as python:MODULE:FUNCTION: uint8 images (n, c, h, w) in, probabilities or
logits (n, k) out, in the order of the student's classes. A server works alike: weights="https://…".
"""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from tutelage.data import open_dataset
from tutelage.engine import AnswersConfig, OptimizerConfig, StageConfig, TeacherConfig, start
from tutelage.methods import DISTConfig, KDConfig
from tutelage.recipes import digits, with_method
from tutelage.teachers import Ledger


@functools.cache
def vendor() -> KNeighborsClassifier:
    """Stands for what is behind the function; yours sends the images to an API."""
    known = open_dataset("digits").train
    return KNeighborsClassifier(n_neighbors=5).fit(known.images.flatten(1).numpy(), known.labels.numpy())


def ask(images: Tensor) -> Tensor:
    """The teacher: probabilities of the classes."""
    return vendor().predict_proba(images.flatten(1).cpu().numpy())


def main() -> None:
    """Two students; the second finds all answers that it needs on disk."""
    out = Path(tempfile.mkdtemp())
    base = replace(digits(), stages=(StageConfig(epochs=15, optimizer=OptimizerConfig(lr=0.1)),))
    answers = AnswersConfig(
        budget=300,  # no more images are ever sent, over crashes, resumes and ranks
        price_per_call=0.002,
        plan="balanced",  # which 300: equally many of each class
        exhausted="skip",  # the others learn from their labels
        cache=str(out / "answers"),  # by default in $TUTELAGE_CACHE, for all runs
    )
    teacher = TeacherConfig(weights="python:costly_teacher:ask", gives="probabilities", answers=answers)
    for method in (KDConfig(), DISTConfig()):
        result = start(with_method(base, method, teacher), out / method.name)
        told = result["teacher"]
        print(
            f"{method.name}: {result['accuracy']['last']['test']:.1%}, {told['calls']} calls for {told['cost']:.2f}, "
            f"{told['skipped']:,} samples without an answer over the epochs"
        )
    calls = Ledger(out / "kd" / "ledger.sqlite").calls()
    print(f"the ledger has {len(calls)} calls for {len({call.id for call in calls})} images; the first is {calls[0]}")


if __name__ == "__main__":
    main()
