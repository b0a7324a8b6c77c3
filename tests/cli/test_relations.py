"""`tutelage relate` measures a run, says what it found, and the report shows it."""

import json

import pytest

from tutelage.cli import main
from tutelage.engine import start
from tutelage.methods import KDConfig


@pytest.fixture
def run(tiny, teacher_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])  # main appends the folder it is called in
    start(tiny(KDConfig(), teacher_run), tmp_path / "kd")
    return tmp_path / "kd"


@pytest.mark.slow
def test_relate_then_report(run, capsys):
    main(["relate", str(run), "--samples", "200", "--k", "3", "--noise", "0", "0.1"])
    first, *told = capsys.readouterr().out.splitlines()
    found = json.loads((run / "relations.json").read_text())
    assert first == f"{run}/relations.json: 200 test images"
    heads = ["student", "teacher", "both", "active channels of stage2", "accuracy under noise"]
    assert [line.split(":")[0].strip() for line in told] == heads
    assert f"all {found['channels']['student']['all']:.3f}, teacher" in told[3]
    assert f"0 {found['student']['accuracy']:.3f}, 0.1 0." in told[4]
    assert f"overlap {found['figures']['overlap']:.3f}" in told[2]
    main(["report", str(run), "--out", str(run.parent / "page.html")])
    page = (run.parent / "page.html").read_text()
    assert "How samples relate" in page
    assert page.count("<img ") == len(found["pictures"]["samples"]) * (9 + 2)  # itself, what is near, two heat maps
    assert "σ of the noise" in page
    main(["relate", str(run), "--noise"])
    assert json.loads((run / "relations.json").read_text())["noise"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "and nowhere holds none: name a run"),
        (["kd", "--k", "449"], "k must be from 1 to 448, one below the number of samples, got 449"),
        (["kd", "--teacher", "gone"], "no network at gone"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main(["relate", *words])
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert error.startswith("tutelage: ")
    assert message in error
    assert error.count("\n") == 1
