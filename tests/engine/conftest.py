"""Runs that can be killed, and a teacher for them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the forking process imports its students from there as well

import nursery as _nursery


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
