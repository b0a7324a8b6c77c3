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
)
from tutelage.engine.grid import run_grid
from tutelage.engine.run import evaluate_network, resume, start
from tutelage.engine.staging import staged
from tutelage.engine.teacher_config import AnswersConfig, HttpConfig, TeacherConfig

__all__ = [
    "AnswersConfig",
    "DataConfig",
    "EngineConfig",
    "HttpConfig",
    "OptimizerConfig",
    "RunConfig",
    "ScheduleConfig",
    "StageConfig",
    "StudentConfig",
    "TeacherConfig",
    "evaluate_network",
    "from_json",
    "resume",
    "run_grid",
    "staged",
    "start",
    "to_json",
]
