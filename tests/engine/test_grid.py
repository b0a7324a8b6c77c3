"""Grids: nothing twice, nothing lost, and no two processes at one cell."""

import dataclasses
import fcntl
import json
import multiprocessing
import random
import re

import pytest

from tutelage.engine import resume, run_grid
from tutelage.errors import ConfigError, DivergedError, RunError


@pytest.fixture
def cells(tiny):
    return {f"ce-seed{seed}": tiny(seed=seed) for seed in range(3)}


def finished(folder, name):
    return (folder / name / "result.json").stat().st_mtime_ns


def test_a_finished_cell_is_not_repeated(cells, tmp_path):
    told = []
    assert run_grid(cells, tmp_path, tell=told.append) == []
    before = {name: finished(tmp_path, name) for name in cells}
    assert [line.split(":")[0] for line in told] == [f"[{i}/3] ce-seed{i - 1}" for i in (1, 2, 3)]
    run_grid(cells, tmp_path, tell=told.append)
    assert {name: finished(tmp_path, name) for name in cells} == before
    assert len(told) == 3


def test_a_cell_that_another_process_has_is_left_to_it(cells, tmp_path):
    (tmp_path / ".claims").mkdir()
    with (tmp_path / ".claims" / "ce-seed1").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run_grid(cells, tmp_path) == ["ce-seed1"]
    assert not (tmp_path / "ce-seed1").exists()
    assert run_grid(cells, tmp_path) == []
    assert finished(tmp_path, "ce-seed1")


def test_a_cell_with_other_settings_on_disk_is_refused_before_anything_runs(cells, tmp_path):
    run_grid({"ce-seed2": cells["ce-seed2"]}, tmp_path)
    changed = {
        name: dataclasses.replace(cell, data=dataclasses.replace(cell.data, batch_size=32))
        for name, cell in cells.items()
    }
    with pytest.raises(RunError, match=r"ce-seed2 holds a run with other settings \(they differ in data\)"):
        run_grid(changed, tmp_path)
    assert not (tmp_path / "ce-seed0").exists()


def test_a_setting_that_an_older_run_did_not_write_has_its_default(cells, tmp_path):
    run_grid({"ce-seed0": cells["ce-seed0"]}, tmp_path)
    path = tmp_path / "ce-seed0" / "config.json"
    config = json.loads(path.read_text())
    del config["data"]["protocol"]
    path.write_text(json.dumps(config))
    assert run_grid({"ce-seed0": cells["ce-seed0"]}, tmp_path) == []


def test_a_cell_that_diverges_is_kept_as_such_and_the_others_go_on(cells, tmp_path):
    (stage,) = cells["ce-seed1"].stages
    steep = dataclasses.replace(stage, optimizer=dataclasses.replace(stage.optimizer, lr=1e30))
    engine = dataclasses.replace(cells["ce-seed1"].engine, log_every=1)
    cells["ce-seed1"] = dataclasses.replace(cells["ce-seed1"], stages=(steep,), engine=engine)
    told = []
    assert run_grid(cells, tmp_path, tell=told.append) == []
    assert [(tmp_path / name / "result.json").exists() for name in cells] == [True, False, True]
    why = json.loads((tmp_path / "ce-seed1" / "diverged.json").read_text())["why"]
    assert told[1] == f"[2/3] ce-seed1: diverged, {why}"
    assert re.match(r"the loss is (inf|nan) at step \d+ \(task (inf|nan) × 1\): lower the learning rate, ", why), why
    run_grid(cells, tmp_path, tell=told.append)
    assert len(told) == 3, "what diverged is not repeated"
    with pytest.raises(DivergedError):  # unless somebody asks for it
        resume(tmp_path / "ce-seed1")
    assert (tmp_path / "ce-seed1" / "diverged.json").exists()


@pytest.mark.slow
def test_workers_share_the_cells_and_what_they_make_is_the_same(cells, tmp_path):
    told = []
    run_grid(cells, tmp_path / "alone", tell=told.append)
    run_grid(cells, tmp_path / "shared", workers=2)
    for name in cells:
        weights = [(tmp_path / where / name / "student.safetensors").read_bytes() for where in ("alone", "shared")]
        assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_grid_that_is_killed_ten_times_gives_the_runs_of_one_that_was_not(cells, tmp_path):
    run_grid(cells, tmp_path / "peace")
    context, wait = multiprocessing.get_context("fork"), random.Random(0)
    for _ in range(10):
        life = context.Process(target=run_grid, args=(cells, tmp_path / "killed"))
        life.start()
        life.join(wait.uniform(0.1, 0.6))
        life.kill()
        life.join()
    assert run_grid(cells, tmp_path / "killed") == []
    for name in cells:
        peace, killed = (tmp_path / where / name for where in ("peace", "killed"))
        assert (peace / "student.safetensors").read_bytes() == (killed / "student.safetensors").read_bytes()
        accuracies = [json.loads((run / "result.json").read_text())["accuracy"] for run in (peace, killed)]
        assert accuracies[0] == accuracies[1]


@pytest.mark.slow
def test_what_stops_a_worker_is_told(cells, tmp_path):
    broken = dataclasses.replace(cells["ce-seed1"], data=dataclasses.replace(cells["ce-seed1"].data, batch_size=9999))
    with pytest.raises(ConfigError, match="a batch of 9999 is larger than the data"):
        run_grid({**cells, "ce-seed1": broken}, tmp_path, workers=2)
