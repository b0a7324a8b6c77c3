"""Accuracy against teacher calls: every method with every number of calls, on the same images."""

import math
from collections.abc import Sequence
from dataclasses import replace

from tutelage.data.protocols import FewTeacherCalls
from tutelage.engine import RunConfig, TeacherConfig
from tutelage.errors import ConfigError
from tutelage.recipes.variants import Variant

__all__ = ["curve_runs"]


def curve_runs(
    base: RunConfig,
    teacher: TeacherConfig,
    variants: Sequence[Variant],
    *,
    protocols: Sequence[FewTeacherCalls],
    seeds: Sequence[int],
    images: int | None = None,
) -> dict[str, RunConfig]:
    """Name → run, for every subset size, seed and variant.

    All variants of one seed and size see the same images and the same answers; subsets of one seed are nested.

    Args:
        base: The recipe and the student.
        teacher: Who is asked, once an image.
        variants: The ways to teach.
        protocols: One for each number of calls.
        seeds: Of subsets and training.
        images: Images that every run forwards, whatever its subset: equal cost for all; None keeps the epochs.

    Raises:
        ConfigError: if nothing is to be run, two runs have one name, or ``images`` is less than one epoch.

    Example:
        >>> from tutelage.recipes import short
        >>> runs = curve_runs(short(), TeacherConfig(weights="t"), [Variant.parse("ce"), Variant.parse("kd")],
        ...                   protocols=[FewTeacherCalls(subset_size=2000)], seeds=[0], images=64_000)
        >>> list(runs), runs["kd-n1600-seed0"].stages[0].epochs
        (['ce-n1600-seed0', 'kd-n1600-seed0'], 40)
    """
    if not (variants and protocols and seeds):
        raise ConfigError("a curve needs at least one method, one subset size and one seed")
    runs: dict[str, RunConfig] = {}
    for seed in seeds:
        for protocol in protocols:
            calls = protocol.calls
            if images is not None and images < calls:
                raise ConfigError(f"{images} images a run are less than one epoch of {calls}: raise it")
            epochs = base.stages[-1].epochs if images is None else math.ceil(images / calls)
            stage = replace(base.stages[-1], epochs=epochs)
            data = replace(base.data, protocol=protocol)
            for variant in variants:
                name = f"{variant.folder}-n{calls}-seed{seed}"
                if name in runs:
                    raise ConfigError(f"the method {variant.name!r} is named twice, or two sizes are equal")
                runs[name] = variant.applied(replace(base, seed=seed, data=data, stages=(stage,)), teacher)
    return runs
