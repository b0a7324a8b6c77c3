"""One network a rank: what one loop over all networks computes, by two processes (gloo) with one forward each."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery, configuration, remains
from safetensors.torch import load_file
from torch import Tensor

from tutelage.engine import EngineConfig, StudentConfig
from tutelage.engine.codec import from_json, to_json
from tutelage.engine.session import Session, open_fabric
from tutelage.errors import ConfigError
from tutelage.methods import DMLConfig, ICKDConfig, KDConfig, ONEConfig

METHODS = {
    "dml": (DMLConfig(), {}),
    "one": (ONEConfig(warmup_epochs=1.0), {"batch_size": 60, "accumulate": 3}),
    "ickd": (ICKDConfig(source="peer", warmup_epochs=0.0), {}),
    "one in bf16": (ONEConfig(), {"precision": "bf16"}),
}


def peers_learn(method: Any, **settings: Any) -> dict[str, Any]:
    """A run of two networks of different widths as the content of its ``config.json``."""
    run = from_json(configuration("dml", model="python:students:counting", epochs=1, lr=0.01, **settings))
    stages = (dataclasses.replace(run.stages[0], method=method),)
    peers = (StudentConfig(model="python:students:counting_wide"),)
    return to_json(dataclasses.replace(run, stages=stages, peers=peers))


def carried_out(nursery: Nursery, path: Path, config: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    ended = nursery.live(do="start", path=path, config=config, ranks=config["engine"]["devices"])
    assert set(ended["status"]) == {0}, ended["log"]
    return remains(path), [load_file(path / f"{name}.safetensors") for name in ("student", "peer1")]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_one_network_a_rank_computes_what_one_loop_does(name: str, nursery: Nursery, tmp_path: Path) -> None:
    method, settings = METHODS[name]
    one, ours = carried_out(nursery, tmp_path / "one", peers_learn(method, **settings))
    apart = peers_learn(method, devices=2, peers_on="ranks", **settings)
    two, theirs = carried_out(nursery, tmp_path / "two", apart)
    for left, right in zip(ours, theirs, strict=True):
        assert left.pop("batches") == right.pop("batches") == one["steps"] == two["steps"]  # one forward each a step
        gaps = [((left[key] - right[key]).float().norm() / left[key].float().norm()).item() for key in left]
        print(f"{name}: {max(gaps)}")
        assert max(gaps) <= 1e-6
    for mine, other in zip(one["metrics"], two["metrics"], strict=True):
        assert mine.keys() == other.keys()
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert mine["accuracy"] == pytest.approx(other["accuracy"], abs=1 / 120)
        for term, reading in mine.get("terms", {}).items():
            assert reading["value"] == pytest.approx(other["terms"][term]["value"], rel=1e-5)


@pytest.mark.parametrize(
    ("peers", "devices", "message"),
    [
        (1, 1, r"got 2 networks and 1 devices: set --engine\.devices 2"),
        (2, 2, r"got 3 networks and 2 devices: set --engine\.devices 3"),
    ],
)
def test_there_must_be_as_many_devices_as_networks(tiny, peers, devices, message):
    config = dataclasses.replace(tiny(DMLConfig()), peers=(StudentConfig(),) * peers)
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config, engine=EngineConfig(devices=devices, peers_on="ranks"))


def test_what_has_no_peers_cannot_be_apart(tiny, teacher_run):
    with pytest.raises(ConfigError, match="one network a rank needs peers"):
        tiny(KDConfig(), teacher_run, devices=2, peers_on="ranks")


def test_a_norm_over_all_networks_is_refused(tiny):
    with pytest.raises(ConfigError, match="no rank has it, leave out clip"):
        tiny(DMLConfig(), optimizer={"clip": 1.0}, devices=2, peers_on="ranks")


def test_a_scale_of_the_loss_for_each_rank_is_refused(tiny):
    config = tiny(DMLConfig(), devices=2, peers_on="ranks", precision="16")
    with pytest.raises(ConfigError, match="needs bf16 or 32, not 16"):
        Session(config, open_fabric(EngineConfig(accelerator="cpu", precision="32")))
