"""Sums of methods on the command line."""

import json
from pathlib import Path

import pytest

from tutelage.cli.flags import distilled
from tutelage.engine import RunConfig, StageConfig, TeacherConfig, to_json
from tutelage.methods import CKDConfig, FitNetConfig, KDConfig, RKDConfig, SumConfig
from tutelage.rundir import RunDir

TEACHER = ("--teacher", "runs/t")


def method(*args):
    return distilled([*TEACHER, *args])[0].method


def test_each_part_has_its_own_flags():
    asked = method("--method", "kd+rkd", "--kd.temperature", "2", "--rkd.angle", "10")
    assert asked == KDConfig(temperature=2.0) + RKDConfig(angle=10.0)
    assert isinstance(asked, SumConfig)


def test_weights_and_a_method_twice():
    asked = method("--method", "0.5*fitnet+kd+fitnet", "--fitnet2.role", "stage1")
    assert asked == 0.5 * FitNetConfig() + KDConfig() + FitNetConfig(role="stage1")


def test_the_weight_of_the_labels_can_be_set():
    assert method("--method", "kd+ckd").task_weight == 0.1
    assert method("--method", "kd+ckd", "--ckd.task-weight", "0.5").task_weight == 0.5
    assert method("--method", "kd+ckd", "--task-weight", "1").task_weight == 1.0


def test_a_run_gives_the_defaults_of_its_own_sum_only(tmp_path):
    sums = [KDConfig(temperature=2.0) + CKDConfig(), 2 * KDConfig() + CKDConfig()]
    for name, one in zip("ab", sums, strict=True):
        run = RunConfig(
            teacher=TeacherConfig(weights="runs/t"),
            stages=(StageConfig(method=SumConfig.of([one], task_weight=0.7)),),
        )
        RunDir.create(tmp_path / name, to_json(run))
    file = str(tmp_path / "a" / "config.json")
    assert method(file) == SumConfig.of([sums[0]], task_weight=0.7)
    assert method(file, "--task-weight", "1", "--kd.temperature", "3").parts[0].temperature == 3.0
    assert method(str(tmp_path / "b" / "config.json"), "--method", "kd+ckd") == KDConfig() + CKDConfig()
    assert method(file, "--method", "kd") == KDConfig()


def test_the_help_shows_the_settings_of_all_parts(said):
    text = said("distill", "--method", "kd+fitnet+fitnet", "--help", code=0)
    assert all(flag in text for flag in ("--kd.temperature", "--fitnet.role", "--fitnet2.role", "--task-weight"))
    assert "--task-weight" not in said("distill", "--method", "kd", "--help", code=0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--method", "kd+rkdd"), "unknown method 'rkdd'"),
        (("--method", "kd+"), "like 0.5*kd+rkd; got 'kd+'"),
        (("--method", "0*kd+rkd", *TEACHER), "the weight of kd must be positive, got 0"),
        (("--method", "kd+dml", *TEACHER), "dml learns from peers and kd from a teacher"),
        (("--method", "tf_kd+label_smoothing", *TEACHER), "tf_kd+label_smoothing learns without a teacher"),
        (("--method", "kd+label_smoothing"), "a teacher is needed"),
    ],
)
def test_a_mistake_is_one_line(said, args, message):
    text = said("distill", *args, code=2)
    assert text.startswith("tutelage: ")
    assert message in text
    assert text.count("\n") == 1


@pytest.mark.slow
def test_a_sum_is_distilled_repeated_and_reported(said, tmp_path, teacher_run):
    flags = ["--method", "0.5*kd+fitnet", "--kd.temperature", "2", "--epochs", "1", "--validation", "0.52"]
    text = said("distill", "--teacher", teacher_run, *flags)
    assert text.startswith("runs/digits-0.5xkd+fitnet-digits_small-seed0: test accuracy ")
    run = Path("runs/digits-0.5xkd+fitnet-digits_small-seed0")
    config, result = (json.loads((run / name).read_text()) for name in ("config.json", "result.json"))
    assert config["method"]["kd"]["temperature"] == 2.0
    assert result["method"] == "0.5*kd+fitnet"
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert {"task", "kd", "fitnet.hint"} <= set(last["terms"])
    said("distill", run / "config.json", "--out", "b")
    again = json.loads(Path("b/result.json").read_text())
    assert again["accuracy"] == result["accuracy"]
    said("report", "runs", "--out", "page.html")
    assert "0.5*kd+fitnet" in Path("page.html").read_text()
