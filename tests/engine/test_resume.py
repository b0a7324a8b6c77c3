"""A run that is killed and resumed is the run that was left in peace, bit for bit."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import KILLED, STAGE, Nursery, cases, configuration, differences

from tutelage.engine import from_json, resume
from tutelage.errors import DataError, RunError

FILES = ("state.ckpt", "best.safetensors", "best.json", "student.safetensors", "student.json", "result.json")


@pytest.fixture(scope="module")
def killed(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of labels alone that was killed after step 6 and a checkpoint."""
    path = tmp_path_factory.mktemp("killed") / "run"
    ended = nursery.live(do="start", path=path, config=configuration(epochs=1), die_at=6)
    assert ended["status"] == [KILLED], ended["log"]
    return path


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "copy"))


def finish(nursery: Nursery, path: Path, **order: Any) -> None:
    ended = nursery.live(path=path, **order)
    assert set(ended["status"]) == {0}, ended["log"]


def cache(path: Path) -> dict[str, str]:
    """A cache of its own: else the second of two runs would find there what a stage of the first one made."""
    return {"TUTELAGE_CACHE": str(path)}


@pytest.mark.slow
@pytest.mark.parametrize("name", cases())
def test_a_run_killed_twice_ends_like_one_left_in_peace(
    name: str, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    settings, rng = {"epochs": 2, "save_every": 0.03} | cases()[name], random.Random(name)
    config, ranks = configuration(teacher=teacher, **settings), settings.get("devices", 1)
    finish(nursery, tmp_path / "peace", do="start", config=config, ranks=ranks, environment=cache(tmp_path / "one"))
    first, second = rng.randint(5, 17), rng.randint(20, 30)
    if len(config["stages"]) > 1:
        second = STAGE * (len(config["stages"]) - 1) + first  # one death in the first stage, one in the last
    own = {"environment": cache(tmp_path / "other")}
    order: dict[str, Any] = {"do": "start", "config": config} | own
    for moment in (first, second):
        ended = nursery.live(path=tmp_path / "war", ranks=ranks, die_at=moment, **order)
        assert KILLED in ended["status"], ended["log"]
        assert ended["moment"] == moment
        order = {"do": "resume"} | own
    finish(nursery, tmp_path / "war", ranks=ranks, **order)
    assert differences(tmp_path / "peace", tmp_path / "war") == []


@pytest.mark.slow
def test_a_run_may_die_while_any_of_its_files_is_put_in_place(nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    config = configuration("kd", teacher, epochs=1)
    finish(nursery, tmp_path / "peace", do="start", config=config)
    order: dict[str, Any] = {"do": "start", "config": config}
    for file in FILES:
        for when in ("half", "before", "after"):
            ended = nursery.live(path=tmp_path / "war", die=[file, 2 if file == "state.ckpt" else 1, when], **order)
            assert ended["status"] == [KILLED], f"{file} {when}: {ended['log']}"
            order = {"do": "resume"}
    # The last of these deaths came after the result was written: the run is finished, and nothing is missing.
    assert differences(tmp_path / "peace", tmp_path / "war") == []
    with pytest.raises(RunError, match="is finished"):
        resume(tmp_path / "war")


@pytest.mark.slow
def test_the_state_of_the_generators_is_part_of_the_checkpoint(nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    """The comparison can fail: with other random numbers after the death, dropout gives other weights."""
    config = configuration("kd", teacher, model="python:students:with_dropout", epochs=1)
    finish(nursery, tmp_path / "peace", do="start", config=config)
    ended = nursery.live(do="start", path=tmp_path / "war", config=config, die_at=8)
    assert ended["status"] == [KILLED], ended["log"]
    state = torch.load(tmp_path / "war" / "state.ckpt", weights_only=True)
    state["generators"][0]["torch"] = torch.Generator().manual_seed(7).get_state()
    torch.save(state, tmp_path / "war" / "state.ckpt")
    finish(nursery, tmp_path / "war", do="resume")
    assert "student.safetensors" in differences(tmp_path / "peace", tmp_path / "war")


@pytest.mark.slow
def test_a_half_written_last_line_of_the_metrics_is_cut(nursery: Nursery, copy: Path, tmp_path: Path) -> None:
    finish(nursery, tmp_path / "peace", do="start", config=configuration(epochs=1))
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "stage": "stage0", "epo')
    finish(nursery, copy, do="resume")
    assert differences(tmp_path / "peace", copy) == []


def test_a_finished_run_is_not_resumed(teacher: Path) -> None:
    with pytest.raises(RunError, match=r"is finished: see .*result\.json"):
        resume(teacher)


def test_a_folder_without_a_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no config\.json"):
        resume(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "zeros", "json", "foreign"])
def test_a_damaged_checkpoint_is_named(damage: str, copy: Path) -> None:
    path = copy / "state.ckpt"
    whole = path.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        noise = random.Random(0).randbytes(1000)
        ways = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise, "zeros": bytes(1000), "json": b"{}"}
        path.write_bytes(ways[damage])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"state\.ckpt is damaged"):
        resume(copy)
    assert path.read_bytes() == before


def test_what_is_compared_is_really_there(nursery: Nursery, copy: Path) -> None:
    """The comparison sees teacher calls, accuracies and every line: a finished run differs from a changed copy."""
    finish(nursery, copy, do="resume")
    other = Path(shutil.copytree(copy, copy.with_name("other")))
    lines = (other / "metrics.jsonl").read_text().splitlines()
    (other / "metrics.jsonl").write_text("\n".join(lines[:-1]))
    result = json.loads((other / "result.json").read_text())
    result["accuracy"]["best"]["test"] += 1e-12
    (other / "result.json").write_text(json.dumps(result))
    weights = bytearray((other / "best.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "best.safetensors").write_bytes(weights)
    assert differences(copy, other) == ["best.safetensors", "metrics", "accuracy"]


def test_the_teacher_is_not_asked_again_for_what_it_answered(nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    config = configuration("kd", teacher, epochs=1, save_every=0.0)
    ended = nursery.live(do="start", path=tmp_path / "run", config=config, die_at=9)
    assert ended["status"] == [KILLED], ended["log"]
    finish(nursery, tmp_path / "run", do="resume")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["teacher"]["calls"] == result["steps"] * from_json(config).data.batch_size
