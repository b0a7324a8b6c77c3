"""The stages of a method: those it needs before its own, and its own."""

from collections.abc import Sequence
from dataclasses import replace

from tutelage.engine.config import StageConfig
from tutelage.methods import MethodConfig, Phase, phases_of

__all__ = ["staged", "without_phases"]


def staged(stage: StageConfig, method: MethodConfig | None) -> tuple[StageConfig, ...]:
    """The stages of a method, in order.

    A phase is trained as its method's own stage is, for its share of the epochs and without mixtures. Each stage
    begins with the best student of those before; an earlier stage of the user's own hands over its last.

    Args:
        stage: How and for how long the student is trained.
        method: What it learns from; None for labels alone.

    Example:
        >>> from tutelage.methods import KDConfig
        >>> [each.name for each in staged(StageConfig(), KDConfig())]
        ['student']
    """
    phases = phases_of(method)
    before = [_of_phase(stage, phase, number) for number, phase in enumerate(phases)]
    return (*before, replace(stage, method=method, start="best" if phases else stage.start))


def without_phases(stages: Sequence[StageConfig]) -> tuple[StageConfig, ...]:
    """The stages that no method brought along: :func:`staged` of the same method makes the others again.

    Example:
        >>> [each.name for each in without_phases([StageConfig(name="before", phase=True), StageConfig()])]
        ['student']
    """
    kept: list[StageConfig] = []
    after_phase = False
    for stage in stages:
        if not stage.phase:
            kept.append(replace(stage, start="last") if after_phase else stage)
        after_phase = stage.phase
    return tuple(kept)


def _of_phase(stage: StageConfig, phase: Phase, number: int) -> StageConfig:
    return replace(
        stage,
        name=phase.name,
        epochs=max(1, round(phase.epochs * stage.epochs)),
        method=phase.method,
        mix=None,
        optimizer=stage.optimizer if phase.lr is None else replace(stage.optimizer, lr=phase.lr),
        start="best" if number else "last",
        phase=True,
    )
