"""What the plots show."""

import math
import re

import pytest

from tutelage.report import load_runs
from tutelage.report.groups import groups_of
from tutelage.report.plots import curve_of, learning_curves, loss_terms, seeds_strip, styles_of


def validation(epoch, accuracy, stage="student"):
    return {"kind": "validation", "stage": stage, "epoch": epoch, "accuracy": accuracy}


def train(epoch, value, weight, stage="student"):
    return {"kind": "train", "stage": stage, "epoch": epoch, "terms": {"kd": {"value": value, "weight": weight}}}


def only_group(root):
    (group,) = groups_of(load_runs(root))
    return group


def test_a_curve_is_the_mean_over_seeds_with_the_extremes(study):
    study.add("kd", 0, 0.9, metrics=[validation(1, 0.5), validation(2, 0.8)])
    study.add("kd", 1, 0.9, metrics=[validation(1, 0.7), validation(2, 0.9)])
    curve = curve_of(only_group(study.root).rows[0])
    assert curve.epochs == [1, 2]
    assert curve.mean == pytest.approx([0.6, 0.85])
    assert (curve.low, curve.high) == ([0.5, 0.8], [0.7, 0.9])


def test_a_curve_shows_the_epochs_that_all_seeds_have(study):
    study.add("kd", 0, 0.9, metrics=[validation(epoch, 0.5) for epoch in (1, 2, 3)])
    study.add("kd", 1, 0.9, metrics=[validation(epoch, 0.5) for epoch in (1, 3, 5)])
    assert curve_of(only_group(study.root).rows[0]).epochs == [1, 3]


def test_a_run_in_stages_shows_its_last_stage(study):
    lines = [validation(1, 0.1, "embedding"), validation(1, 0.6, "classifier"), validation(2, 0.7, "classifier")]
    study.add("refilled", 0, 0.9, metrics=lines)
    assert curve_of(only_group(study.root).rows[0]).mean == [0.6, 0.7]


def test_an_epoch_that_was_written_twice_counts_once(study):
    study.add("kd", 0, 0.9, metrics=[validation(1, 0.1), validation(1, 0.6), validation(2, 0.7)])
    assert curve_of(only_group(study.root).rows[0]).mean == [0.6, 0.7]


def test_every_row_has_a_named_line_and_its_number_for_screen_readers(typical):
    plot = learning_curves(only_group(typical), 860.0)
    spoken = re.search(r'aria-label="([^"]*)"', plot)[1]
    for label in ("teacher", "iekd", "crd", "kd", "rkd", "student alone"):
        assert f">{label}<" in plot
        assert re.search(rf"\b{label} 9\d\.\d", spoken)


def test_a_narrow_plot_stays_inside_its_width(typical):
    plot = learning_curves(only_group(typical), 360.0)
    assert max(float(x) for x in re.findall(r'\bx="([\d.]+)"', plot)) < 360


def test_curves_that_overflowed_leave_no_nan_in_the_plot(study):
    study.add("kd", 0, 0.1, metrics=[validation(1, 0.5), validation(2, None), validation(3, None)])
    plot = learning_curves(only_group(study.root), 860.0)
    assert "nan" not in plot


@pytest.mark.parametrize("lines", [(), [validation(1, 0.5)]])
def test_without_two_validations_there_is_no_curve(study, lines):
    study.add("kd", 0, 0.9, metrics=lines)
    assert learning_curves(only_group(study.root), 860.0) == ""


def test_terms_are_averaged_over_runs_and_each_stage_has_its_plot(study):
    study.add(
        "kd", 0, 0.9, metrics=[train(1, 1.0, 0.5), train(2, 2.0, 0.5), train(1, 1.0, 1.0, "b"), train(2, 1, 1, "b")]
    )
    study.add("kd", 1, 0.9, metrics=[train(1, 3.0, 0.5), train(2, 4.0, 0.5)])
    plots = loss_terms(only_group(study.root).rows[0], "c0 d0")
    assert [stage for stage, _ in plots] == ["student", "b"]
    assert "At the end: kd 1.5." in plots[0][1]


def test_terms_that_overflowed_are_left_out(study):
    study.add("kd", 0, 0.1, metrics=[train(1, 1.0, 1.0), train(2, 1.5, 1.0), train(3, math.nan, 1.0)])
    ((_, plot),) = loss_terms(only_group(study.root).rows[0], "c0 d0")
    assert "nan" not in plot
    assert "kd 1.5" in plot


def test_negative_terms_are_inside_the_frame(study):
    study.add("kd", 0, 0.9, metrics=[train(1, -1.0, 1.0), train(2, -2.0, 1.0)])
    ((_, plot),) = loss_terms(only_group(study.root).rows[0], "c0 d0")
    heights = [float(y) for y in re.findall(r'class="line [^"]*" d="M[\d.]+ ([\d.-]+)L', plot)]
    assert heights
    assert all(0 <= y <= 190 for y in heights)


def test_a_strip_has_a_dot_for_each_seed_and_no_bar_for_one(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.94)
    study.add("ce", 1, 0.941)
    group = only_group(study.root)
    dots = {row.label: seeds_strip(row, group, "c0") for row in group.rows}
    assert (dots["kd"].count("<circle"), 'class="bar' in dots["kd"]) == (1, False)
    assert (dots["student alone"].count("<circle"), 'class="bar' in dots["student alone"]) == (2, True)


def test_a_perfect_teacher_and_equal_accuracies_still_have_a_scale(study):
    for method in ("kd", "ce"):
        study.add(
            method, 0, 0.95, change=lambda result: result["teacher"] and result["teacher"]["accuracy"].update(test=1.0)
        )
    group = only_group(study.root)
    assert "nan" not in "".join(seeds_strip(row, group, "c0") for row in group.rows)


def test_no_two_of_24_methods_look_the_same(study):
    for i in range(24):
        study.add(f"method{i}", 0, 0.9)
    styles = styles_of(only_group(study.root).rows)
    assert len(set(styles.values())) == 24


def test_what_has_no_weight_in_a_whole_stage_is_not_drawn_and_what_warms_up_is(study):
    def line(epoch, warm):
        terms = {
            "task": (2.0, 0.0),
            "num_tuples": (400.0, 0.0),
            "tuples": (0.5, 10.0),
            "kd": (1.0, warm),
            "hinge": (0, 1),
        }
        shown = {name: {"value": value, "weight": weight} for name, (value, weight) in terms.items()}
        return train(epoch, 0.0, 0.0) | {"terms": shown}

    later = [train(1, 2.0, 0.1, "b"), train(2, 1.0, 0.1, "b")]
    study.add("refilled", 0, 0.9, metrics=[line(1, 0.0), line(2, 0.5), *later])
    (_, first), (_, second) = loss_terms(only_group(study.root).rows[0], "c0 d0")
    assert "At the end: hinge 0, kd 0.5, tuples 5." in first
    assert "At the end: kd 0.1." in second
