"""The engine: stages, loop, state, evaluation; devices, precision and ranks are Lightning Fabric's."""

from tutelage.engine.codec import from_json, to_json
from tutelage.engine.config import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
)
from tutelage.engine.run import evaluate_network, resume, start

__all__ = [
    "DataConfig",
    "EngineConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "StageConfig",
    "StudentConfig",
    "TeacherConfig",
    "evaluate_network",
    "from_json",
    "resume",
    "start",
    "to_json",
]
