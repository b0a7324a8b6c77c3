"""Accuracy under noise on the weights: a line a row, through the plain accuracy."""

import json
import re

import pytest

from tutelage.report import load_runs, write_page
from tutelage.report.groups import groups_of
from tutelage.report.noise_plot import _of_row, noise_plots


def noisy(levels, plain=0.9, split="test"):
    """Relations with the accuracy of each draw by level; of a student alone, and of none where there are no levels."""
    content = {"format": "tutelage-relations/1", "split": split, "samples": 101, "k": 10, "bins": 15}
    content |= {"student": {"features": "embedding", "accuracy": plain}, "teacher_left_out": "nobody was asked"}
    content |= {"pictures": {"by": "student", "samples": []}}
    noise = {"draws": 2, "levels": [{"sigma": s, "accuracy": a} for s, a in levels.items()]}
    return content | ({"noise": noise} if levels else {})


def add(study, method, seed, content):
    folder = study.add(method, seed, 0.95)
    (folder / "relations.json").write_text(json.dumps(content))


def group(study):
    (found,) = groups_of(load_runs(study.root))
    return found


def levels_of(study, label="kd"):
    (row,) = [row for row in group(study).rows if row.label == label]
    (levels,) = _of_row(row).values()
    return levels


def test_a_line_is_the_mean_over_draws_and_seeds_with_the_extremes_of_the_seeds(study):
    add(study, "kd", 0, noisy({0.1: [0.7, 0.8], 0.2: [0.1, 0.3]}))
    add(study, "kd", 1, noisy({0.1: [0.8, 0.9], 0.2: [0.3, 0.3]}, plain=0.94))
    found = levels_of(study)
    assert list(found) == [0, 0.1, 0.2]
    for sigma, expected in ((0, (0.92, 0.9, 0.94)), (0.1, (0.8, 0.75, 0.85)), (0.2, (0.25, 0.2, 0.3))):
        assert found[sigma] == pytest.approx(expected)


def test_runs_of_one_seed_count_once(study):
    for accuracy in (0.1, 0.3):
        add(study, "kd", 0, noisy({0.1: [accuracy]}))
    add(study, "kd", 1, noisy({0.1: [0.8]}))
    assert levels_of(study)[0.1] == pytest.approx((0.5, 0.2, 0.8))


def test_levels_that_one_run_lacks_are_left_out(study):
    add(study, "kd", 0, noisy({0.1: [0.5], 0.2: [0.4]}))
    add(study, "kd", 1, noisy({0.2: [0.2], 0.3: [0.1]}))
    assert list(levels_of(study)) == [0, 0.2]


def test_runs_without_it_have_no_plot(study):
    add(study, "kd", 0, noisy({}))
    assert noise_plots(group(study)) == []


def test_other_conditions_have_a_plot_of_their_own(study):
    add(study, "kd", 0, noisy({0.1: [0.5]}))
    add(study, "kd", 1, noisy({0.1: [0.5]}, split="validation"))
    assert [conditions.split for conditions, _ in noise_plots(group(study))] == ["test", "validation"]


def test_the_page_shows_a_named_line_for_each_row_and_says_its_numbers(study):
    for seed in (0, 1):
        add(study, "kd", seed, noisy({0.1: [0.7, 0.8]}))
        add(study, "iekd", seed, noisy({0.1: [0.8, 0.8]}))
    text = write_page(study.root, study.root.parent / "report.html").read_text(encoding="utf-8")
    spoken = re.search(r'aria-label="(Accuracy in per cent by noise[^"]*)"', text)[1]
    assert "kd: 90.0 at 0, 75.0 at 0.1" in spoken
    assert "iekd: 90.0 at 0, 80.0 at 0.1" in spoken
    assert "nan" not in json.dumps(noise_plots(group(study)))
