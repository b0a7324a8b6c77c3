"""CKD in its white-box form in whole runs: two processes have the gradient of one, and a killed run goes on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import KILLED, Nursery, configuration, differences

FORMS = {
    "fitnet": {"features": "fitnet"},
    "vid, drawn": {"features": "vid", "sampling": "drawn", "k": 2},  # 64 images are 32 groups
}


def config_of(form: str, teacher: Path, **settings: Any) -> dict[str, Any]:
    config = configuration("ckd", teacher, **settings)
    for stage in config["stages"]:
        stage["method"] |= FORMS[form]
    return config


def live(nursery: Nursery, **order: Any) -> list[int]:
    ended = nursery.live(**order)
    assert KILLED in ended["status"] or set(ended["status"]) == {0}, ended["log"]
    return ended["status"]


@pytest.mark.parametrize("form", FORMS)
def test_two_processes_have_the_gradient_of_one(form: str, nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    found = {}
    for ranks in (1, 2):
        config = config_of(form, teacher, model="python:students:without_norm", devices=ranks)
        path = tmp_path / str(ranks)
        live(nursery, do="gradients", path=path, config=config, ranks=ranks, double=True)
        found[ranks] = [torch.load(f"{path}.{rank}") for rank in range(ranks)]
    (alone,) = found[1]
    assert {"student", "method"} <= alone.keys()
    for shared in found[2]:
        for part in ("student", "method"):
            assert (shared[part] - alone[part]).norm() / alone[part].norm() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_killed_run_ends_as_one_that_was_not(form: str, nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    config = config_of(form, teacher, epochs=2)
    assert live(nursery, do="start", path=tmp_path / "peace", config=config) == [0]
    assert live(nursery, do="start", path=tmp_path / "war", config=config, die_at=22) == [KILLED]
    assert live(nursery, do="resume", path=tmp_path / "war") == [0]
    assert differences(tmp_path / "peace", tmp_path / "war") == []
