"""A table: every method on every pair of teacher and student, with every seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tutelage.engine import RunConfig, StudentConfig, TeacherConfig
from tutelage.errors import ConfigError
from tutelage.recipes.variants import Variant

__all__ = ["Pair", "compare_runs", "paired_up"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Who teaches, and who is taught.

    Args:
        teacher: Asked alike by every method.
        student: The model.
    """

    teacher: TeacherConfig
    student: str


def paired_up(teachers: Sequence[TeacherConfig], students: Sequence[str]) -> list[Pair]:
    """The first teacher with the first student and so on; one teacher or one student stands beside all others.

    Raises:
        ConfigError: if there are several of both, and not as many.

    Example:
        >>> [pair.student for pair in paired_up([TeacherConfig(weights="t")], ["zoo:resnet8", "zoo:resnet14"])]
        ['zoo:resnet8', 'zoo:resnet14']
    """
    count = max(len(teachers), len(students))
    if not teachers or not students or {len(teachers), len(students)} - {1, count}:
        raise ConfigError(
            f"pairs need a student for each teacher, or one of either for all; got {len(teachers)} teachers and "
            f"{len(students)} students"
        )
    both = zip([*teachers] * (count // len(teachers)), [*students] * (count // len(students)), strict=True)
    return [Pair(teacher=teacher, student=student) for teacher, student in both]


def compare_runs(
    base: RunConfig, pairs: Sequence[Pair], variants: Sequence[Variant], *, seeds: Sequence[int]
) -> dict[str, RunConfig]:
    """Name → run, for every seed, pair and variant: seed by seed, so that a part of the grid is a table already.

    Args:
        base: The recipe.
        pairs: Who teaches whom.
        variants: The ways to teach.
        seeds: Of the training.

    Raises:
        ConfigError: if nothing is to be run, or two runs have one name.

    Example:
        >>> from tutelage.recipes import short
        >>> pairs = paired_up([TeacherConfig(weights="t")], ["zoo:resnet8"])
        >>> list(compare_runs(short(), pairs, [Variant.parse("ce"), Variant.parse("kd")], seeds=[0, 1]))
        ['ce-seed0', 'kd-seed0', 'ce-seed1', 'kd-seed1']
    """
    if not (pairs and variants and seeds):
        raise ConfigError("a comparison needs at least one pair, one method and one seed")
    names = _pair_names(pairs)
    runs: dict[str, RunConfig] = {}
    for seed in seeds:
        for pair, prefix in zip(pairs, names, strict=True):
            for variant in variants:
                name = f"{prefix}{variant.folder}-seed{seed}"
                if name in runs:
                    raise ConfigError(f"the method {variant.name!r} is named twice: leave out one")
                start = replace(base, seed=seed, student=StudentConfig(model=pair.student))
                runs[name] = variant.applied(start, pair.teacher)
    return runs


def _pair_names(pairs: Sequence[Pair]) -> list[str]:
    """What names begin with: nothing for one pair, the student where that tells them apart, else also a number."""
    if len(pairs) == 1:
        return [""]
    students = [pair.student.replace(":", ".").replace("/", "-") for pair in pairs]
    if len(set(students)) == len(pairs):
        return [f"{student}-" for student in students]
    return [f"pair{number}-{student}-" for number, student in enumerate(students, start=1)]
