"""What a stage is, by the needs of its method, and what the stages before leave to it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tutelage.engine.cohort import Lessons
from tutelage.engine.config import RunConfig, StageConfig
from tutelage.engine.state import Position
from tutelage.errors import ConfigError
from tutelage.methods import Method

__all__ = ["before", "check_stages", "follow", "judge_of", "stage_facts", "trains_alone"]


def trains_alone(method: Method | Lessons | None) -> bool:
    """Whether a stage trains its method and not the student."""
    return method is not None and method.needs.trains == "method"


def judge_of(method: Method | Lessons | None) -> Literal["accuracy", "ncm", "none"]:
    """What chooses the best epoch of a stage."""
    if method is None:
        return "accuracy"
    return "none" if trains_alone(method) else method.needs.judge


def check_stages(config: RunConfig, methods: Sequence[Method | Lessons | None], roles: Mapping[str, object]) -> None:
    """Refuse stages that cannot be carried out.

    Args:
        config: The run.
        methods: Of each stage.
        roles: What the student hands out.

    Raises:
        ConfigError: if no stage trains the student, a method is trained where no teacher answers, or nearest class
            means are wanted of a student without an embedding.
    """
    for stage, method in zip(config.stages, methods, strict=True):
        if trains_alone(method) and config.teacher is None:
            raise ConfigError(f"the stage {stage.name!r} is trained on the answers of a teacher: name one")
        if judge_of(method) == "ncm" and "embedding" not in roles:
            raise ConfigError(
                f"the stage {stage.name!r} is judged by the student's embedding, and it has none: name the place with "
                f"--student.taps embedding=PATH"
            )
    if all(map(trains_alone, methods)):
        raise ConfigError("no stage trains the student: add one")


def before(
    stages: Sequence[StageConfig], methods: Sequence[Method | Lessons | None], number: int
) -> dict[str, Method | Lessons]:
    """The methods of the stages before a stage, by name of the stage."""
    pairs = zip(stages[:number], methods[:number], strict=True)
    return {stage.name: method for stage, method in pairs if method is not None}


def follow(
    method: Method | Lessons | None, earlier: Mapping[str, Any], states: Mapping[str, Mapping[str, Any]]
) -> None:
    """Let a method copy what it reads of those of the earlier stages.

    Args:
        method: Of the stage that begins, or goes on.
        earlier: The methods of the stages before, by name of the stage.
        states: What a checkpoint holds of them; empty where this process has trained them.
    """
    for name, state in states.items():
        earlier[name].load_state_dict(state)
    if method is not None:
        method.follow(earlier)


def stage_facts(stage: StageConfig, method: Method | Lessons | None, position: Position) -> dict[str, Any]:
    """What ``result.json`` says of a stage that is finished."""
    judge = judge_of(method)
    facts: dict[str, Any] = {
        "name": stage.name,
        "method": stage.method.name if stage.method else "ce",
        "trains": "method" if trains_alone(method) else "student",
        "epochs": position.epoch,
        "steps": position.step,
        "judge": judge,
    }
    if not trains_alone(method):
        facts["best"] = {"epoch": position.best_epoch} | ({"validation": position.best} if judge != "none" else {})
    return facts | ({"cached": True} if position.cached else {})
