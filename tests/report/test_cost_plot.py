"""Accuracy against cost: where the marks are, and when there is a plot at all."""

import re

import pytest

from tutelage.report import load_runs
from tutelage.report.cost_plot import cost_plot
from tutelage.report.groups import groups_of


def group_of(study):
    (group,) = groups_of(load_runs(study.root))
    return group


def cost(**values):
    def change(result):
        if "calls" in values and result["teacher"]:
            result["teacher"]["calls"] = values["calls"]
        result["seconds"] = values.get("seconds", result["seconds"])

    return change


@pytest.fixture
def costly(study):
    for method, test, seconds, calls in (("ce", 0.90, 10.0, 0), ("kd", 0.94, 20.0, 1000), ("crd", 0.92, 60.0, 3000)):
        for seed in range(3):
            study.add(method, seed, test + 0.002 * seed, change=cost(seconds=seconds, calls=calls))
    return study


@pytest.mark.parametrize("width", [860.0, 360.0])
def test_marks_stand_by_their_cost_and_their_mean(costly, width):
    plot = cost_plot(group_of(costly), width, by="seconds")
    marks = {
        name: (float(x), float(y))
        for name, x, y in re.findall(r"<title>([a-z ]+): [^<]*</title>.*?cx=\"([\d.]+)\" cy=\"([\d.]+)\"", plot)
    }
    assert set(marks) == {"kd", "crd", "student alone"}
    x = {name: place[0] for name, place in marks.items()}
    assert (x["crd"] - x["kd"]) / (x["kd"] - x["student alone"]) == pytest.approx(4, rel=0.02)
    y = {name: place[1] for name, place in marks.items()}
    assert y["kd"] < y["crd"] < y["student alone"]  # SVG counts downwards
    assert y["crd"] - y["kd"] == pytest.approx(y["student alone"] - y["crd"], abs=0.2)
    assert "kd 94.2 at 20" in plot


def test_the_calls_are_those_sent_and_the_student_alone_sends_none(costly):
    plot = cost_plot(group_of(costly), 860.0, by="calls")
    assert "kd 94.2 at 1; crd 92.2 at 3; student alone 90.2 at 0." in plot


def test_equal_costs_are_no_plot(study):
    for method in ("ce", "kd", "crd"):
        study.add(method, 0, 0.95, change=cost(seconds=10.0))
    assert cost_plot(group_of(study), 860.0, by="seconds") == ""
    assert cost_plot(group_of(study), 860.0, by="calls") == ""  # all that ask ask as often


def test_one_seed_has_a_mark_without_a_bar(study):
    study.add("kd", 0, 0.95, change=cost(seconds=10.0))
    study.add("crd", 0, 0.96, change=cost(seconds=20.0))
    plot = cost_plot(group_of(study), 860.0, by="seconds")
    assert plot.count("<circle") == 2
    assert 'class="bar' not in plot
