"""A run with another method: its stages, and the teacher or the peers that it learns from."""

from dataclasses import replace
from pathlib import Path

from tutelage.engine import RunConfig, TeacherConfig, staged
from tutelage.engine.staging import without_phases
from tutelage.methods import MethodConfig, is_taught, learns_from_peers

__all__ = ["with_method"]


def with_method(
    base: RunConfig, method: MethodConfig | None, teacher: TeacherConfig | Path | str | None = None
) -> RunConfig:
    """The run with this method in its last stage, and with the stages that the method brings along.

    Args:
        base: Everything else.
        method: What the student learns from; None for labels alone.
        teacher: Its settings, or its run or file alone; left out for labels alone, and for methods without a teacher.
            A method that learns from peers gets one of the student's model.

    Raises:
        ConfigError: if the method needs a teacher and there is none.

    Example:
        >>> from tutelage.methods import FTConfig
        >>> run = with_method(RunConfig(), FTConfig(), "runs/teacher")
        >>> [stage.name for stage in run.stages], run.teacher.weights
        (['auto_encoder', 'student'], 'runs/teacher')
    """
    *before, stage = without_phases(base.stages)
    source = teacher if isinstance(teacher, TeacherConfig | None) else TeacherConfig(weights=str(teacher))
    return replace(
        base,
        teacher=source if is_taught(method) else None,
        peers=(base.student,) if learns_from_peers(method) else (),
        stages=(*before, *staged(stage, method)),
    )
