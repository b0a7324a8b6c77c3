"""Runs that can be killed, and a teacher for them."""

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the forking process imports its students from there as well

import billed
import books as _books
import nursery as _nursery

from tutelage.engine import AnswersConfig, RunConfig, TeacherConfig
from tutelage.methods import KDConfig


@pytest.fixture(scope="session")
def nursery() -> Iterator[_nursery.Nursery]:
    made = _nursery.Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def teacher(nursery: _nursery.Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "run"
    config = _nursery.configuration(model="zoo:digits_large", epochs=1, lr=0.1)
    ended = nursery.live(do="start", path=path, config=config)
    assert ended["status"] == [0], ended["log"]
    return path


@pytest.fixture
def books(tmp_path: Path) -> _books.Books:
    """What is paid for a run that meets with deaths and failures."""
    return _books.Books(tmp_path / "war", tmp_path / "answers")


@pytest.fixture
def peace(tmp_path: Path) -> _books.Books:
    """The same for one that is left in peace."""
    return _books.Books(tmp_path / "peace", tmp_path / "answers of peace")


@pytest.fixture
def bill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the teacher that is paid for writes whom it was sent."""
    monkeypatch.setenv("BILL", str(tmp_path / "bill"))
    return tmp_path / "bill"


@pytest.fixture
def taught(tiny: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., RunConfig]:
    """The config of a run whose answers are kept in a folder of this test."""

    def build(weights: object = billed.NAME, method: Any = None, **settings: Any) -> RunConfig:
        protocol, run = settings.pop("protocol", None), settings.pop("run", {})
        own = {name: settings.pop(name) for name in ("gives", "http", "batch_size") if name in settings}
        answers = AnswersConfig(**{"cache": str(tmp_path / "answers"), **settings})
        config = tiny(
            method or KDConfig(), TeacherConfig(weights=str(weights), answers=answers, **own), log_every=1, **run
        )
        return dataclasses.replace(config, data=dataclasses.replace(config.data, protocol=protocol))

    return build
