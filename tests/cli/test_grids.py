"""Tables of many runs, as commands."""

import json
from pathlib import Path

import pytest

from tutelage.cli import grids, main
from tutelage.cli.demo import Demo

SHORT = ("--epochs", "1", "--seeds", "1", "--students", "zoo:digits_small")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    main(["teach", "digits", "--model", "zoo:digits_small", "--epochs", "3", "--out", str(out)])
    return out


def test_a_comparison_writes_runs_page_and_tables_and_repeats_nothing(said, teacher):
    command = ("compare", "digits", "--teachers", teacher, "--methods", "ce", "kd", "--train-size", "800", *SHORT)
    text = said(*command, "--out", "table")
    assert "[2/2] kd-seed0: test accuracy" in text
    assert "student alone" in text
    made = {path.name for path in Path("table").iterdir() if not path.name.startswith(".")}
    assert made == {"ce-seed0", "kd-seed0", "report.html", "table.md", "table.csv", "table.tex"}
    assert json.loads(Path("table/kd-seed0/config.json").read_text())["data"]["protocol"]["train_size"] == 800
    again = said(*command, "--out", "table")
    assert "test accuracy" not in again
    assert Path("table/table.md").read_text() in again


def test_a_comparison_of_other_classes_than_the_teachers(said):
    said("teach", "digits", "--model", "zoo:digits_small", "--data.classes", "0:6", "--epochs", 3, "--out", "six")
    protocol = "cross-task:overlap=2,teacher_classes=6"
    command = ("compare", "digits", "--teachers", "six", "--protocol", protocol, "--shared-only", *SHORT)
    text = said(*command, "--methods", "ce", "kd", "--out", "table")
    runs = {name: json.loads(Path(f"table/{name}-seed0/config.json").read_text()) for name in ("ce", "kd")}
    assert all(run["data"]["protocol"]["overlap"] == 2 for run in runs.values())
    assert runs["kd"]["teacher"]["shared_only"]
    assert "digits (6 of 10 classes" in text


def test_the_preset_is_the_demo_with_every_method(said, monkeypatch):
    asked = []
    monkeypatch.setattr(grids, "carry_out", asked.append)
    monkeypatch.setattr(grids, "_write_tables", lambda *_, **__: None)
    said("compare", "--preset", "demo", "--seeds", "2", "--workers", "3", "--out", "all")
    assert asked == [Demo(out=Path("all"), methods=("all",), seeds=2, workers=3)]
    text = said("compare", "--preset", "demo", "--methods", "kd", "--optimizer.lr", "0.2", code=2)
    assert "--preset demo says what it compares: leave out --methods, --optimizer.lr" in text
    text = said("compare", "cifar100", "--preset=demo", "--epochs=3", code=2)
    assert "leave out cifar100, --epochs" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "a teacher is needed: --teachers RUN"),
        (("--teachers", "a", "b", "--students", "x", "y", "z"), "got 2 teachers and 3 students"),
        (("--teachers", "a", "--methods", "kdd"), "unknown method 'kdd'"),
        (("--teachers", "a", "--seeds", "0"), "at least one pair, one method and one seed"),
        (("--teachers", "a", "--methods", "kd", "kd"), "the method 'kd' is named twice"),
        (("--teachers", "a", "--train-size", "0"), "train_size must be at least 1, got 0"),
        (("--teachers", "a", "--protocol", "crosstask"), "unknown protocol 'crosstask'"),
        (("--teachers", "a", "--protocol", "cross-task:overlap=-1"), "overlap is a number of classes from 0 on"),
        (("--teachers", "a", "--protocol", "cross-task:lap=1"), "the protocol 'cross-task' cannot be read"),
        (("--teachers", "a", "--protocol", "standard", "--train-size", "9"), "in its word: leave out --train-size"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_in_one_line(said, flags, message):
    text = said("compare", "digits", *flags, code=2)
    assert message in text
    assert text.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "a teacher is needed: --teacher RUN"),
        (("--teacher", "a", "--epochs", "2", "--images", "900"), "epochs or images, not both; got 2 and 900"),
    ],
)
def test_a_curve_that_cannot_be_is_refused_in_one_line(said, flags, message):
    text = said("curve", "digits", *flags, code=2)
    assert message in text
    assert text.count("\n") == 1
