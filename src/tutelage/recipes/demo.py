"""The demonstration: a teacher, and a small student that learns by labels alone and by many methods."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tutelage.engine import AnswersConfig, RunConfig, StudentConfig, TeacherConfig
from tutelage.methods import METHODS, ATConfig, CKDConfig, DKDConfig, RefilledConfig, ReviewKDConfig
from tutelage.recipes.methods import with_method
from tutelage.recipes.standard import digits
from tutelage.recipes.variants import ALONE, Variant

__all__ = ["DEMO_METHODS", "demo_answers", "demo_students", "demo_teachers"]

DEMO_METHODS = (
    *(ALONE, "kd", "dkd", "fitnet", "rkd", "crd", "ickd", "ckd", "refilled", "iekd"),  # with a teacher
    *("dml", "ickd:source=peer", "label_smoothing", "ickd:source=student"),  # among peers, and alone
)
"""What the demo shows: the four systems in all their paradigms, and a few others."""

OTHER_CLASSES = (ALONE, "refilled")
"""How the student learns other digits than those the second teacher knows."""


def demo_teachers() -> dict[str, RunConfig]:
    """Name → run: the large network taught all digits by labels, and one that is taught 0 to 4 only.

    Example:
        >>> list(demo_teachers())
        ['teacher', 'teacher-0-to-4']
    """
    large = replace(digits(), student=StudentConfig(model="zoo:digits_large"))
    return {"teacher": large, "teacher-0-to-4": _of_classes(large, "0:5")}


def demo_answers(out: Path) -> list[RunConfig]:
    """For each teacher a run that reads all that any method reads of it: what the students are to find in the cache.

    Args:
        out: The folder of the finished teachers.

    Example:
        >>> [(run.teacher.weights, run.method.name) for run in demo_answers(Path("runs"))]
        [('runs/teacher', 'review_kd'), ('runs/teacher-0-to-4', 'refilled')]
    """
    (base, teacher), (base_of_others, other_teacher) = _lessons(out)
    return [
        with_method(base, ReviewKDConfig(), teacher),
        with_method(base_of_others, RefilledConfig(), other_teacher),
    ]


def demo_students(out: Path, *, seeds: int = 3, methods: Sequence[str] = DEMO_METHODS) -> dict[str, RunConfig]:
    """Name → run: the small network by every method, for every seed; then on the digits 5 to 9.

    Args:
        out: The folder of the finished teachers.
        seeds: Seeds a method.
        methods: As :meth:`Variant.parse <tutelage.recipes.Variant.parse>` reads them; ``all`` for labels alone and
            every method.

    Example:
        >>> list(demo_students(Path("runs"), seeds=1))[:3]
        ['ce-seed0', 'kd-seed0', 'dkd-seed0']
    """
    words = dict.fromkeys(word for text in methods for word in ((ALONE, *METHODS) if text == "all" else (text,)))
    (base, teacher), (base_of_others, other_teacher) = _lessons(out)
    shown = [_tuned(Variant.parse(word), base) for word in words]
    others = [replace(Variant.parse(word), name=f"other-classes-{word}") for word in OTHER_CLASSES]
    return {
        f"{variant.folder}-seed{seed}": variant.applied(replace(start, seed=seed), whose)
        for seed in range(seeds)
        for start, whose, variants in ((base, teacher, shown), (base_of_others, other_teacher, others))
        for variant in variants
    }


def _lessons(out: Path) -> list[tuple[RunConfig, TeacherConfig]]:
    """The small network on the digits that each teacher is to teach it."""
    base = replace(digits(), student=StudentConfig(model="zoo:digits_small"))
    answers = AnswersConfig(cache=str(out / "answers"))
    teachers = [TeacherConfig(weights=str(out / name), answers=answers) for name in demo_teachers()]
    return [(base, teachers[0]), (_of_classes(base, "5:10"), teachers[1])]


def _tuned(variant: Variant, base: RunConfig) -> Variant:
    """Three defaults that suit neither 40 epochs nor maps of 8 × 8 pixels."""
    if variant.method == CKDConfig():  # docs/log.md: in so few epochs the mean logit has to be taught
        return replace(variant, method=CKDConfig(center_bias=1.0))
    if variant.method == DKDConfig():  # the paper's 20 of 240 epochs
        return replace(variant, method=DKDConfig(warmup_epochs=base.stages[0].epochs / 12))
    if variant.method == ATConfig():  # docs/log.md: a mean over 16 places weighs more than one over 1,024
        return replace(variant, method=ATConfig(weight=65.0))
    return variant


def _of_classes(run: RunConfig, classes: str) -> RunConfig:
    return replace(run, data=replace(run.data, classes=classes))
