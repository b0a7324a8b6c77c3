"""Every file of examples/ runs as it is printed, and says what it promises."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from tutelage.methods import METHODS

FOLDER = Path(__file__).parents[2] / "examples"
NEEDS = {"transformer": "transformers"}
"""What an example imports beside what tests have anyway."""


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """Runs an example as `python examples/NAME.py` does, in a folder of its own; the lines that it prints."""
    methods, modules = dict(METHODS), set(sys.modules)

    def run(name):
        if name in NEEDS:
            pytest.importorskip(NEEDS[name], reason=f"this example needs {NEEDS[name]}, which is no part of the tests")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.syspath_prepend(str(FOLDER))
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    yield run
    METHODS.clear()
    METHODS.update(methods)
    for name in set(sys.modules) - modules:
        if name in {file.stem for file in FOLDER.glob("*.py")}:
            del sys.modules[name]


def percent(lines, name):
    """The figure on the one line that begins with a name."""
    (line,) = (line for line in lines if re.match(rf"{re.escape(name)}\b[^:]*: ", line))
    return float(re.search(r": ([\d.]+)%", line)[1])


def own_loop(lines):
    assert percent(lines, "teacher") > 88
    assert percent(lines, "student taught") > 80
    assert percent(lines, "student alone") > 80


def own_module(lines):
    assert percent(lines, "taught") > 88
    assert "by kd+fitnet" in lines[1]
    assert "Small with 5,226 weights, roles logits, stage2, embedding" in lines


def own_method(lines):
    assert [line.split(":")[0] for line in lines[:4]] == ["ce", "kd", "direction", "kd+direction"]
    assert all(percent(lines[i : i + 1], line.split(":")[0]) > 80 for i, line in enumerate(lines[:4]))


def other_classes(lines):
    assert percent(lines, "refilled") > 85
    assert "(embedding → student)" in lines[1]
    assert re.match(r"kd: .*teacher has 5 classes, the student 5, and they share 0", lines[2])


def costly_teacher(lines):
    # With 300 of 1,213 answers DIST ends a little below or above 80 %, by how a processor rounds.
    assert percent(lines, "kd") > 80
    assert percent(lines, "dist") > 70
    assert "300 calls for 0.60" in lines[0]
    assert "0 calls for 0.00" in lines[1]
    assert lines[2].startswith("the ledger has 300 calls for 300 images")


def transformer(lines):
    assert percent(lines, "taught") > 80
    assert "'map': (17, 32)" in lines[2]


CHECKS = (own_loop, own_module, own_method, other_classes, costly_teacher, transformer)
OUTCOMES = {check.__name__: check for check in CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTCOMES)
def test_an_example_does_what_it_says(example, name):
    OUTCOMES[name](example(name))


def test_every_example_is_tried_and_has_its_line_in_the_readme():
    files = sorted(file.stem for file in FOLDER.glob("*.py"))
    assert files == sorted(OUTCOMES)
    rows = re.findall(r"^- \[`(\w+)\.py`\]\((\w+)\.py\): \S", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [(name, name) for name in files]


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_example_is_short_and_says_how_it_is_run(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert f"python examples/{name}.py" in text
    assert len(text.splitlines()) <= 80
