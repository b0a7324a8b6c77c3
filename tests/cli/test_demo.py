"""The demonstration, with trainings of a few epochs."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest

import tutelage.recipes.demo as recipe
from tutelage.cli.demo import Demo, carry_out
from tutelage.errors import RunError


@pytest.fixture
def brief(monkeypatch):
    """Three epochs a run."""
    whole = recipe.digits

    def short():
        run = whole()
        return replace(run, stages=(replace(run.stages[0], epochs=3),))

    monkeypatch.setattr(recipe, "digits", short)


def test_no_student_asks_a_teacher_that_was_asked_beforehand(brief, tmp_path, capsys):
    asked = Demo(out=tmp_path, methods=("ce", "kd", "fitnet", "rkd"), seeds=2, workers=1)
    carry_out(asked)
    results = {path.parent.name: json.loads(path.read_text()) for path in Path(tmp_path).glob("*-seed?/result.json")}
    calls = {name: result["teacher"]["calls"] for name, result in results.items() if result["teacher"]}
    assert calls == {f"{row}-seed{i}": 0 for row in ("kd", "fitnet", "rkd", "other-classes-refilled") for i in (0, 1)}
    assert "10,917 answers of a teacher, of which 0 were there already" in capsys.readouterr().out
    carry_out(asked)
    out = capsys.readouterr().out
    assert "10,917 answers of a teacher, of which 10,917 were there already" in out
    assert "test accuracy" not in out


def test_who_comes_while_a_teacher_is_trained_is_told_so(brief, tmp_path):
    (tmp_path / ".claims").mkdir()
    with (tmp_path / ".claims" / "teacher").open("w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        with pytest.raises(RunError, match=r"another process still trains teacher in .*: join it when that is done"):
            carry_out(Demo(out=tmp_path, methods=("ce",), seeds=1, workers=1))
