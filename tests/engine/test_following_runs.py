"""A rate that waits for the validation accuracy, and teachers that follow the student: in whole runs, also killed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from books import changed, lines, live, survives
from nursery import Nursery, configuration
from safetensors.torch import load_file

SELDOM: dict[str, Any] = {"save_every": 0.05}  # seconds between checkpoints: most steps have none
PLAIN = "python:students:without_norm"


def plateau(**schedule: Any) -> dict[str, Any]:
    return {"name": "plateau", "warmup": 0.0, "patience": 1, **schedule}


class TestPlateau:
    def test_it_drops_where_nothing_is_gained_and_the_last_drop_is_the_end(
        self, nursery: Nursery, tmp_path: Path
    ) -> None:
        """With a rate of nearly nothing the first epoch is the best: drops after epochs 3, 5 and 7."""
        config = configuration(epochs=30, lr=1e-12, log_every=18, model=PLAIN, **SELDOM)
        changed(config, schedule=plateau(patience=2, gamma=0.5))
        live(nursery, do="start", path=tmp_path / "run", config=config)
        result = json.loads((tmp_path / "run/result.json").read_text())
        assert (result["epochs"], result["steps"]) == (7, 7 * 18)
        rates = {int(line["epoch"]): line["lr"] for line in lines(tmp_path / "run") if line["step"] > 1}
        assert list(rates.values()) == pytest.approx([1e-12 * share for share in (1, 1, 1, 0.5, 0.5, 0.25, 0.25)])

    def test_a_drop_goes_back_to_the_best_weights(self, nursery: Nursery, tmp_path: Path) -> None:
        """The first drop is to a rate of zero: from there on the student is the best one."""
        config = configuration(epochs=40, lr=0.8, model=PLAIN, **SELDOM)
        changed(config, schedule=plateau(gamma=0.0, patience=2))
        live(nursery, do="start", path=tmp_path / "run", config=config)
        result = json.loads((tmp_path / "run/result.json").read_text())
        scores = [line["accuracy"] for line in lines(tmp_path / "run", "validation")]
        best, drop = result["accuracy"]["best"]["epoch"], result["epochs"] - 4
        assert drop == best + 2
        assert scores[drop:] == [scores[best - 1]] * 4
        assert scores[drop - 1] < scores[best - 1]
        last, kept = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("student", "best"))
        torch.testing.assert_close(last, kept, rtol=0, atol=0)

    def test_a_run_that_goes_on_gaining_ends_with_its_epochs(self, nursery: Nursery, tmp_path: Path) -> None:
        config = changed(configuration(epochs=2, **SELDOM), schedule=plateau(patience=5))
        live(nursery, do="start", path=tmp_path / "run", config=config)
        assert json.loads((tmp_path / "run/result.json").read_text())["epochs"] == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("ranks", [1, 2])
    def test_a_killed_run_ends_as_one_that_was_not(
        self, ranks: int, nursery: Nursery, teacher: Path, tmp_path: Path
    ) -> None:
        """Deaths in an epoch, when the best weights are in place, and at the end of each epoch: of a drop as well."""
        settings = {"model": PLAIN, "lr": 0.8, "batch_size": 100, "save_every": 0.0, "devices": ranks}
        config = configuration("kd", teacher, epochs=30, **settings)
        changed(config, schedule=plateau(gamma=0.3, drops=2))
        deaths: list[dict[str, Any]] = [{"die_at": 5}, {"die": ["best.safetensors", 1, "after"]}]
        saved = (1, "before"), (1, "after"), *2 * ((12, "before"), (1, "after"))  # each of 11 steps, then the epoch
        if ranks == 2:  # three times an epoch, then its end; the rate drops first at that of the third
            deaths, saved = [], ((12, "before"), (1, "after"))
        deaths += [{"die": ["state.ckpt", count, when]} for count, when in saved]
        survives(nursery, tmp_path, config, *deaths, ranks=ranks)
        rates = [line["lr"] for line in lines(tmp_path / "war")]
        assert rates[0] == 0.8
        assert rates[-1] == pytest.approx(0.24)
        assert json.loads((tmp_path / "war/result.json").read_text())["epochs"] < 30


class TestFollowers:
    """Teachers that are copies of the student."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "method", "ranks"),
        [("ema", "kd", 1), ("ema", "fitnet", 2), ("snapshot", "kd", 1), ("snapshot", "rkd", 2)],
    )
    def test_a_killed_run_ends_as_one_that_was_not(
        self, name: str, method: str, ranks: int, nursery: Nursery, tmp_path: Path
    ) -> None:
        """Two epochs of 18 steps; the snapshot is taken after the first."""
        config = configuration(method, Path(name), epochs=2, devices=ranks, **SELDOM)
        survives(nursery, tmp_path, config, {"die_at": 7}, {"die_at": 25}, ranks=ranks)
        result = json.loads((tmp_path / "war/result.json").read_text())
        assert result["teacher"]["calls"] == 36 * 64
        assert result["teacher"]["accuracy"] == {}

    def test_the_average_follows_the_student_and_the_snapshot_waits_for_the_epoch(
        self, nursery: Nursery, tmp_path: Path
    ) -> None:
        """At the start both are the student: the term of KD is zero. Then the student runs ahead."""
        for name in ("ema", "snapshot"):
            config = configuration("kd", Path(name), epochs=2, log_every=1, model=PLAIN, lr=0.5, **SELDOM)
            live(nursery, do="start", path=tmp_path / name, config=config)
            values = [line["terms"]["kd"]["value"] for line in lines(tmp_path / name)]
            assert values[0] == pytest.approx(0, abs=1e-6)
            assert max(values[5:18]) > 1e-3
            if name == "snapshot":
                assert values[18] == pytest.approx(0, abs=1e-6)  # the first step of the second epoch
