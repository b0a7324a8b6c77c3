"""Whole runs on digits: what they write, and that they can be repeated."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tutelage.engine import evaluate_network, from_json, resume, start
from tutelage.engine.evaluation import Judge
from tutelage.errors import ConfigError, LabelSpaceError, RunError, TeacherError
from tutelage.methods import METHODS, DKDConfig, KDConfig, is_taught
from tutelage.models import load_network, save_network


def lines(path, kind):
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def weights(path):
    return (path / "student.safetensors").read_bytes()


@pytest.fixture(scope="module")
def distilled(tiny, teacher_run, tmp_path_factory):
    """A finished run of KD, and what `start` returned."""
    path = tmp_path_factory.mktemp("distilled") / "x"
    return path, start(tiny(KDConfig(), teacher_run, epochs=2, log_every=4), path)


class TestResult:
    def test_the_file_holds_what_was_returned_and_all_that_a_table_needs(self, distilled):
        path, result = distilled
        assert json.loads((path / "result.json").read_text()) == result
        assert result["format"] == "tutelage-result/1"
        assert (result["kind"], result["method"], result["data"], result["seed"]) == ("distill", "kd", "digits", 0)
        assert result["student"] == {"model": "zoo:digits_small", "parameters": 1418, "num_classes": 10}
        assert (result["epochs"], result["steps"], result["precision"]) == (2, 20, "32-true")
        assert result["images_per_second"] == pytest.approx(20 * 64 / result["seconds"])
        assert set(result["machine"]) >= {"cpu", "cores", "threads", "gpu"}
        assert result["versions"]["torch"] == torch.__version__
        assert {"command", "commit", "finished"} <= set(result)

    def test_the_classes_add_up_to_the_accuracy_of_the_last_epoch(self, distilled):
        classes = distilled[1]["classes"]
        assert classes["names"] == [str(digit) for digit in range(10)]
        assert sum(classes["images"]) == 449
        assert all(0 <= right <= images for right, images in zip(classes["right"], classes["images"], strict=True))
        assert sum(classes["right"]) / 449 == distilled[1]["accuracy"]["last"]["test"]

    @pytest.mark.parametrize(("best", "judged"), [(2, 1), (1, 2)])
    def test_weights_that_are_last_and_best_are_judged_once(self, tiny, tmp_path, monkeypatch, best, judged):
        asked, score = [], Judge.score_classes
        monkeypatch.setattr(Judge, "score_classes", lambda *args: asked.append(1) or score(*args))
        given = iter([{"accuracy": float(best == epoch), "loss": 1.0} for epoch in (1, 2)])
        monkeypatch.setattr(Judge, "measure", lambda self, network, split, *, by: next(given))
        result = start(tiny(epochs=2, validate_every=1), tmp_path / "x")
        assert result["accuracy"]["best"]["epoch"] == best
        assert len(asked) == judged
        assert (result["accuracy"]["best"] == result["accuracy"]["last"]) == (judged == 1)

    def test_the_memory_is_that_of_training_without_validation(self, tiny, tmp_path, monkeypatch):
        peaks, restarts = iter([5, 3, 9, 4, 2, 1]), []
        monkeypatch.setattr("tutelage.engine.footprint.Footprint.peak", lambda self: next(peaks, 0))
        monkeypatch.setattr("tutelage.engine.footprint.Footprint.restart", lambda self: restarts.append(1))
        result = start(tiny(epochs=2, validate_every=1), tmp_path / "x")
        assert result["memory"] in (None, {"bytes": 9, "kind": "resident"})
        assert len(restarts) == 1 + 2  # when it begins, and after each validation

    def test_the_teacher_is_described_and_its_calls_are_the_training_images(self, distilled, teacher_run):
        teacher = distilled[1]["teacher"]
        assert teacher["model"] == "zoo:digits_large"
        assert teacher["fingerprint"] == load_network(teacher_run).fingerprint()
        assert teacher["calls"] == 20 * 64
        facts = json.loads((teacher_run / "result.json").read_text())
        assert teacher["accuracy"]["test"] == facts["accuracy"]["last"]["test"]

    def test_the_files_are_those_of_the_architecture_and_no_others(self, distilled):
        names = "best.json best.safetensors config.json metrics.jsonl result.json student.json student.safetensors"
        assert " ".join(sorted(path.name for path in distilled[0].iterdir())) == names

    @pytest.mark.parametrize(("which", "file"), [("last", "student"), ("best", "best")])
    def test_the_accuracies_are_those_of_the_stored_networks(self, distilled, which, file):
        path, result = distilled
        facts = evaluate_network(path / f"{file}.safetensors")
        assert facts["accuracy"] == result["accuracy"][which]["test"]
        assert (facts["data"], facts["split"], facts["images"]) == ("digits", "test", 449)

    def test_the_card_of_the_student_tells_how_it_came_to_be(self, distilled):
        path, result = distilled
        training = load_network(path).card.training
        assert training["method"] == "kd"
        assert training["accuracy"]["last"] == result["accuracy"]["last"]
        assert load_network(path / "best.safetensors").card.training["accuracy"] == result["accuracy"]

    def test_labels_alone_have_no_teacher(self, teacher_run):
        result = json.loads((teacher_run / "result.json").read_text())
        assert (result["kind"], result["method"], result["teacher"]) == ("teach", "ce", None)


class TestMetrics:
    def test_the_first_step_and_every_so_many_are_written(self, distilled):
        train = lines(distilled[0], "train")
        assert [record["step"] for record in train] == [1, 4, 8, 12, 16, 20]
        assert [record["epoch"] for record in train] == [0.1, 0.4, 0.8, 1.2, 1.6, 2.0]

    def test_the_loss_is_the_weighted_sum_of_the_terms(self, distilled):
        for record in lines(distilled[0], "train"):
            terms = record["terms"]
            assert {name: term["weight"] for name, term in terms.items()} == {"task": 0.1, "kd": 0.9}
            assert record["loss"] == pytest.approx(sum(t["value"] * t["weight"] for t in terms.values()))

    def test_the_best_epoch_is_the_best_on_validation_never_on_test(self, distilled):
        path, result = distilled
        validation = lines(path, "validation")
        assert [record["epoch"] for record in validation] == [1, 2]
        best = max(validation, key=lambda record: record["accuracy"])
        assert result["accuracy"]["best"]["epoch"] == best["epoch"]
        assert result["accuracy"]["best"]["validation"] == best["accuracy"]
        assert result["accuracy"]["last"]["validation"] == validation[-1]["accuracy"]

    @pytest.mark.parametrize(("every", "epochs"), [(2, [2, 3]), (3, [3]), (5, [3])])
    def test_the_last_epoch_is_validated_whatever_the_interval(self, tiny, tmp_path, every, epochs):
        start(tiny(epochs=3, validate_every=every), tmp_path / "x")
        assert [record["epoch"] for record in lines(tmp_path / "x", "validation")] == epochs

    def test_wandb_is_given_the_same_numbers_as_the_file(self, tiny, tmp_path, monkeypatch):
        said = []
        module = ModuleType("wandb")
        module.init = lambda **settings: SimpleNamespace(
            log=lambda numbers, step: said.append((step, numbers)), finish=lambda: said.append("closed")
        )
        monkeypatch.setitem(sys.modules, "wandb", module)
        start(tiny(sinks=("wandb",)), tmp_path / "x")
        (validation,) = lines(tmp_path / "x", "validation")
        assert said[-1] == "closed"
        assert said[-2][0] == 10
        assert said[-2][1]["validation/accuracy"] == validation["accuracy"]


def test_the_best_weights_are_those_of_the_best_epoch_and_the_last_those_of_the_last(tiny, tmp_path, monkeypatch):
    accuracies = iter([0.9, 0.5, 0.1])
    real = Judge.score_network

    def score(self, network, split):
        found = real(self, network, split)
        return found._replace(accuracy=next(accuracies, found.accuracy)) if split == "validation" else found

    monkeypatch.setattr(Judge, "score_network", score)
    result = start(tiny(epochs=3), tmp_path / "three")
    start(tiny(epochs=1), tmp_path / "one")
    assert (result["accuracy"]["best"]["epoch"], result["accuracy"]["last"]["epoch"]) == (1, 3)
    best, one = load_network(tmp_path / "three" / "best.safetensors"), load_network(tmp_path / "one")
    assert best.fingerprint() == one.fingerprint() != load_network(tmp_path / "three").fingerprint()


class TestRepeat:
    def test_the_same_seed_gives_the_same_bits_and_another_seed_others(self, tiny, tmp_path):
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            start(tiny(seed=seed), tmp_path / name)
            torch.manual_seed(99)  # nothing but the seed of the run may count
        prints = [load_network(tmp_path / name).fingerprint() for name in "abc"]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("name", METHODS)
    def test_the_config_of_a_run_repeats_it_bit_for_bit(self, tiny, teacher_run, tmp_path, name):
        method = METHODS[name]()
        config = tiny(method, teacher_run if is_taught(method) else None)
        start(config, tmp_path / "a")
        content = json.loads((tmp_path / "a" / "config.json").read_text())
        start(from_json(content), tmp_path / "b")
        prints = [load_network(tmp_path / run).fingerprint() for run in "ab"]
        assert prints[0] == prints[1]
        assert json.loads((tmp_path / "b" / "config.json").read_text()) == content

    def test_a_method_changes_what_is_learned(self, tiny, teacher_run, tmp_path):
        start(tiny(), tmp_path / "ce")
        start(tiny(KDConfig(), teacher_run), tmp_path / "kd")
        assert load_network(tmp_path / "ce").fingerprint() != load_network(tmp_path / "kd").fingerprint()


class TestPrecision:
    def test_bf16_is_close_to_single_and_stored_as_single(self, tiny, teacher_run, tmp_path):
        for precision in ("bf16", "32"):
            start(tiny(KDConfig(), teacher_run, precision=precision, log_every=10), tmp_path / precision)
        half, whole = (lines(tmp_path / precision, "train") for precision in ("bf16", "32"))
        assert half[0]["loss"] == pytest.approx(whole[0]["loss"], rel=0.05)
        assert half[0]["loss"] != whole[0]["loss"]
        assert {weight.dtype for weight in load_network(tmp_path / "bf16").parameters()} == {torch.float32}
        assert json.loads((tmp_path / "bf16" / "result.json").read_text())["precision"] == "bf16-mixed"

    @pytest.mark.slow
    def test_compiled_networks_learn_the_same(self, tiny, teacher_run, tmp_path, monkeypatch):
        # the tracer is what could lose a tap or a hook; the code generator takes a minute and is not ours
        real = torch.compile
        monkeypatch.setattr(torch, "compile", lambda module, **settings: real(module, backend="eager"))
        for compiled in (True, False):
            start(tiny(METHODS["rkd"](), teacher_run, compile=compiled), tmp_path / str(compiled))
        one, other = (load_network(tmp_path / name).model.state_dict() for name in ("True", "False"))
        assert max((one[name] - other[name]).abs().max().item() for name in one) < 1e-4


class TestStages:
    def test_a_second_stage_goes_on_with_the_weights_of_the_first(self, tiny, teacher_run, tmp_path):
        first = tiny().stages[0]
        config = tiny(KDConfig(), teacher_run)
        stages = (replace(first, name="labels"), replace(config.stages[0], name="kd"))
        result = start(replace(config, stages=stages), tmp_path / "x")
        assert [record["stage"] for record in lines(tmp_path / "x", "validation")] == ["labels", "kd"]
        assert result["teacher"]["calls"] == 640
        assert result["epochs"] == 2
        accuracies = [record["loss"] for record in lines(tmp_path / "x", "validation")]
        assert accuracies[1] < accuracies[0]

    def test_the_warm_up_of_dkd_advances_by_the_step(self, tiny, teacher_run, tmp_path):
        start(tiny(DKDConfig(warmup_epochs=2.0), teacher_run, epochs=3, log_every=5), tmp_path / "x")
        shares = {record["step"]: record["terms"]["dkd"]["weight"] for record in lines(tmp_path / "x", "train")}
        assert shares == pytest.approx({1: 0.0, 5: 0.2, 10: 0.45, 15: 0.7, 20: 0.95, 25: 1.0, 30: 1.0})


class TestRefusal:
    def test_a_run_is_never_overwritten(self, tiny, distilled):
        path, before = distilled[0], weights(distilled[0])
        with pytest.raises(RunError, match="already holds a run"):
            start(tiny(), path)
        assert weights(path) == before

    def test_a_finished_run_is_not_resumed(self, distilled):
        with pytest.raises(RunError, match=r"is finished: see .*result\.json"):
            resume(distilled[0])

    def test_nothing_is_not_resumed(self, tmp_path):
        with pytest.raises(RunError, match="no run at"):
            resume(tmp_path / "none")

    def test_a_bad_teacher_leaves_no_directory(self, tiny, tmp_path, teacher_run):
        network = load_network(teacher_run)
        for weight in network.parameters():
            weight.detach().normal_()
        save_network(network, tmp_path / "bad.safetensors")
        with pytest.raises(TeacherError, match="chance is"):
            start(tiny(KDConfig(), tmp_path / "bad.safetensors"), tmp_path / "x")
        assert not (tmp_path / "x").exists()

    def test_a_network_of_unknown_data_is_not_judged(self, tmp_path, teacher_run):
        save_network(load_network(teacher_run), tmp_path / "net.safetensors", training={})
        with pytest.raises(ConfigError, match="name the data"):
            evaluate_network(tmp_path / "net.safetensors")
        assert evaluate_network(tmp_path / "net.safetensors", data="digits", split="validation")["images"] == 135

    def test_a_network_of_other_classes_is_not_judged(self, tmp_path, teacher_run):
        network = load_network(teacher_run)
        network.card = replace(network.card, classes=tuple("abcdefghij"))
        save_network(network, tmp_path / "net.safetensors")
        with pytest.raises(LabelSpaceError, match="share 0"):
            evaluate_network(tmp_path / "net.safetensors")


CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tutelage.engine.loop import StageLoop
step = StageLoop._step
StageLoop._step = lambda self, batch: (time.sleep(0.2), step(self, batch))  # a run that a late signal still hits
from tutelage.cli import main
main(["distill", sys.argv[1], "--out", sys.argv[2]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM])  # SIGINT takes the same way: test_loop.py
def test_a_stopped_process_saves_and_the_resumed_run_equals_one_that_was_not_stopped(
    tiny, teacher_run, tmp_path, number
):
    config, path = tiny(KDConfig(), teacher_run, epochs=3, log_every=1), tmp_path / "stopped"
    start(config, tmp_path / "whole")
    source = str(Path(sys.modules["tutelage"].__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "whole" / "config.json"), str(path)],
        env={**os.environ, "PYTHONPATH": source},
        stderr=subprocess.PIPE,
        text=True,
    )
    with contextlib.closing(child.stderr):
        deadline, written = time.monotonic() + 300, path / "metrics.jsonl"
        # A step is written down: it is at its work. The file alone is made before it listens to signals.
        while (
            not (written.exists() and written.stat().st_size) and child.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.005)
        child.send_signal(number)
        message = child.stderr.read()
        assert child.wait(timeout=30) == 130, message
    assert f"everything is saved: go on with `tutelage resume {path}`" in message
    assert "Traceback" not in message
    assert (path / "state.ckpt").exists()
    result = resume(path)
    assert weights(path)[-1000:] == weights(tmp_path / "whole")[-1000:]
    assert load_network(path).fingerprint() == load_network(tmp_path / "whole").fingerprint()
    assert result["teacher"]["calls"] == 30 * 64
    assert [record["step"] for record in lines(path, "train")] == list(range(1, 31))
