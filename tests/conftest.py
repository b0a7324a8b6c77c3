"""What all tests share: a cache of their own, one thread, tiny runs on digits, and a teacher trained once."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import jaxtyping
import pytest
import torch

from tutelage.engine import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
    staged,
    start,
)

# The same examples in every run: what one of them breaks is met by whoever breaks it, not by the next to pass.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# 0.52 of the 1,348 training digits are held out: 647 remain, ten batches of 64 or twenty of 32.
HELD_OUT = 0.52


def _tiny(
    method: Any = None,
    teacher: Path | TeacherConfig | None = None,
    *,
    epochs: int = 1,
    model: str = "zoo:digits_small",
    batch_size: int = 64,
    seed: int = 0,
    optimizer: dict[str, Any] | None = None,
    **engine: Any,
) -> RunConfig:
    """Ten steps an epoch, constant learning rate: epoch 1 of 3 is epoch 1 of 1."""
    if isinstance(teacher, Path):
        teacher = TeacherConfig(weights=str(teacher))
    return RunConfig(
        data=DataConfig(batch_size=batch_size, validation=HELD_OUT),
        student=StudentConfig(model=model),
        teacher=teacher,
        peers=(StudentConfig(model=model),) if getattr(method, "peers", False) else (),
        stages=staged(
            StageConfig(
                epochs=epochs,
                optimizer=OptimizerConfig(**(optimizer or {})),
                schedule=ScheduleConfig(name="constant", warmup=0.0),
            ),
            method,
        ),
        engine=EngineConfig(**{"accelerator": "cpu", "precision": "32", **engine}),
        seed=seed,
    )


@pytest.fixture(scope="session", autouse=True)
def _workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, a cache that starts empty, and no waiting for the disk: no test cuts the power."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[..., RunConfig]:
    """Builds the config of a run of a tenth of a second an epoch."""
    return _tiny


@pytest.fixture(scope="session")
def teacher_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run of a teacher: five epochs on digits, most answers right."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    start(_tiny(epochs=5, model="zoo:digits_large", optimizer={"lr": 0.1}), path)
    return path


@pytest.fixture
def own_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., torch.nn.Module]], str]:
    """Makes a factory importable for the length of a test, and says how it is written in a config."""

    def install(factory: Callable[..., torch.nn.Module]) -> str:
        module = ModuleType("own_networks")
        module.make = factory  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return "python:own_networks:make"

    return install


@pytest.fixture
def own_messages() -> Iterator[None]:
    """Let wrong shapes and types reach the checks of tutelage when the suite runs with jaxtyping's hook."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
