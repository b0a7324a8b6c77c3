"""The demonstration: a teacher, and a small student that learns by labels alone and by every method."""

from dataclasses import replace
from pathlib import Path

from tutelage.engine import RunConfig, StudentConfig, TeacherConfig
from tutelage.methods import METHODS, CKDConfig, DKDConfig, MethodConfig
from tutelage.recipes.standard import digits
from tutelage.recipes.variants import ALONE, Variant

__all__ = ["demo_students", "demo_teacher"]


def demo_teacher() -> RunConfig:
    """The large network, taught by labels.

    Example:
        >>> demo_teacher().student.model
        'zoo:digits_large'
    """
    return replace(digits(), student=StudentConfig(model="zoo:digits_large"))


def demo_students(teacher: Path, *, seeds: int = 3) -> dict[str, RunConfig]:
    """Name → run: the small network by labels (``ce``) and by every method, for every seed.

    Args:
        teacher: The finished run of the teacher.
        seeds: Seeds a method.

    Example:
        >>> list(demo_students(Path("t"), seeds=1))[:4]
        ['ce-seed0', 'cc-seed0', 'ckd-seed0', 'cs_kd-seed0']
    """
    base = replace(digits(), student=StudentConfig(model="zoo:digits_small"))
    methods: dict[str, MethodConfig | None] = {ALONE: None, **{name: make() for name, make in METHODS.items()}}
    methods["ckd"] = CKDConfig(center_bias=1.0)  # docs/log.md: in so few epochs the mean logit has to be taught
    methods["dkd"] = DKDConfig(warmup_epochs=base.stages[0].epochs / 12)  # the paper's 20 of 240 epochs
    variants = [Variant(name=name, method=method) for name, method in methods.items()]
    return {
        f"{variant.name}-seed{seed}": variant.applied(replace(base, seed=seed), TeacherConfig(weights=str(teacher)))
        for seed in range(seeds)
        for variant in variants
    }
