"""Which classes gain: paired over seeds, and only where all runs say how well each class does."""

import re

import pytest
import scipy.stats

from tutelage.errors import DataError
from tutelage.report import load_runs, write_page
from tutelage.report.classes import class_lines, class_reach, classes_legend, classes_strip
from tutelage.report.groups import groups_of

NAMES = ("cat", "dog", "cow", "emu")


def classes(*right, images=50, names=NAMES):
    content = {"names": list(names), "images": [images] * len(names), "right": list(right)}
    return lambda result: result.update(classes=content)


@pytest.fixture
def farm(study):
    for seed, (alone, kd) in enumerate(
        [
            ((20, 30, 40, 10), (25, 30, 38, 12)),
            ((22, 28, 41, 12), (28, 29, 38, 11)),
            ((21, 30, 42, 9), (25, 31, 40, 12)),
        ]
    ):
        study.add("ce", seed, sum(alone) / 200, change=classes(*alone))
        study.add("kd", seed, sum(kd) / 200, change=classes(*kd))
    return study


def lines_of(study):
    return class_lines(groups_of(load_runs(study.root))[0])


def test_gains_are_paired_by_seed(farm):
    (line,) = lines_of(farm)
    assert line.label == "kd"
    differences = [5 / 50, 6 / 50, 4 / 50]
    assert line.gains["cat"].mean == pytest.approx(0.1)
    assert line.gains["cat"].half_width == pytest.approx(scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(differences))
    assert line.moved == (3, 1)
    assert line.called == (1, 1)  # cat gains; cow loses 2, 3 and 2 images


def test_the_ends_of_the_order_are_named_from_outside_in(farm):
    best, worst = lines_of(farm)[0].extremes
    assert [name for name, _ in best] == ["cat", "emu"]
    assert [name for name, _ in worst] == ["cow", "dog"]
    assert best[0][1].call == "better"
    assert worst[0][1].call == "worse"


def test_of_many_classes_five_are_named_at_each_end(study):
    names = [f"class {i}" for i in range(100)]
    study.add("ce", 0, 0.5, change=classes(*[50] * 100, images=100, names=names))
    study.add("kd", 0, 0.5, change=classes(*range(100), images=100, names=names))
    (line,) = lines_of(study)
    best, worst = line.extremes
    assert [name for name, _ in best] == [f"class {i}" for i in (99, 98, 97, 96, 95)]
    assert [name for name, _ in worst] == [f"class {i}" for i in range(5)]
    assert line.called == (0, 0)  # one seed calls nothing
    assert "Each row stands for 100 tests" in classes_legend([line])
    assert "about 5 of its classes would be called by chance" in classes_legend([line])


def test_the_bars_hold_every_class_once(study):
    names = [f"class {i}" for i in range(100)]
    study.add("ce", 0, 0.5, change=classes(*[50] * 100, images=100, names=names))
    study.add("kd", 0, 0.5, change=classes(*[45] * 10, *[50] * 30, *[60] * 60, images=100, names=names))
    (line,) = lines_of(study)
    assert class_reach([line]) == pytest.approx(0.1)
    strip = classes_strip(line, class_reach([line]), "c0 d0")
    heights = [float(height) for height in re.findall(r"v-([\d.]+)h", strip)]
    assert [round(60 * height / max(heights)) for height in heights] == [10, 30, 60]
    assert "60 of 100 classes gain, 10 lose" in strip


def test_runs_from_before_are_without_classes_and_in_the_tables(farm, tmp_path):
    farm.add("crd", 0, 0.5)
    assert [line.label for line in lines_of(farm)] == ["kd"]
    page = write_page(farm.root, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Gains by class" in page
    assert "−12.0" not in page.split("Gains by class")[0]


def test_where_only_some_runs_of_a_row_tell_it_is_left_out(farm):
    farm.add("kd", 3, 0.5)
    assert lines_of(farm) == []


def test_without_the_student_alone_there_is_nothing_to_gain_over(study, tmp_path):
    study.add("kd", 0, 0.5, change=classes(1, 2, 3, 4))
    assert lines_of(study) == []
    assert "Gains by class" not in write_page(study.root, tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_class_without_a_test_image_is_left_out(study):
    def some(result):
        result["classes"] = {"names": list(NAMES), "images": [50, 0, 50, 50], "right": [1, 0, 2, 3]}

    for method in ("ce", "kd"):
        study.add(method, 0, 0.5, change=some)
    assert list(lines_of(study)[0].gains) == ["cat", "cow", "emu"]


@pytest.mark.parametrize(
    "content",
    [
        {"names": ["cat"], "images": [50], "right": [1, 2]},
        {"names": ["cat"], "images": [50], "right": ["1"]},
        {"names": "cat", "images": [50], "right": [1]},
        {"names": ["cat"], "images": [50]},
        {"names": ["cat"], "images": [5], "right": [6]},
        {"names": ["cat"], "images": [5], "right": [-1]},
    ],
)
def test_damaged_classes_are_named(study, content):
    study.add("kd", 0, 0.5, change=lambda result: result.update(classes=content))
    with pytest.raises(DataError, match=r"result\.json: expected .* at classes\."):
        load_runs(study.root)


def test_hostile_names_of_classes_stay_text(study, tmp_path):
    hostile = '"><script>alert(1)</script>'
    for method in ("ce", "kd"):
        study.add(method, 0, 0.5, change=classes(1, 2, 3, 4, names=(hostile, "a", "b", "c")))
    assert "<script>alert" not in write_page(study.root, tmp_path / "report.html").read_text(encoding="utf-8")
