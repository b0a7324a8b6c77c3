"""What methods watch at each validation, as curves."""

import re

import pytest

from tutelage.report import load_runs, write_page
from tutelage.report.groups import groups_of
from tutelage.report.watched import _watched, watched_panels


def validation(epoch, stage="student", **figures):
    more = {"figures": figures} if figures else {}
    return {"kind": "validation", "stage": stage, "epoch": epoch, "accuracy": 0.5, **more}


def halves(epoch, inheritance, exploration, stage="student"):
    return validation(epoch, stage, cka_inheritance=inheritance, cka_exploration=exploration)


def only_group(study):
    (group,) = groups_of(load_runs(study.root))
    return group


def test_a_curve_is_the_mean_over_runs_with_the_extremes(study):
    study.add("iekd", 0, 0.9, metrics=[halves(1, 0.2, 0.1), halves(2, 0.6, 0.3)])
    study.add("iekd", 1, 0.9, metrics=[halves(1, 0.4, 0.1), halves(2, 0.8, 0.1)])
    curve, runs = _watched(only_group(study).rows[0], "cka_inheritance")
    assert (curve.epochs, runs) == ([1, 2], 2)
    assert curve.mean == pytest.approx([0.3, 0.7])
    assert (curve.low, curve.high) == ([0.2, 0.6], [0.4, 0.8])


def test_a_row_has_one_plot_of_both_halves_and_says_where_they_end(study):
    study.add("iekd", 0, 0.9, metrics=[halves(1, 0.2, 0.1), halves(2, 0.62, 0.31)])
    (panel,) = watched_panels(only_group(study))
    assert (panel.label, panel.quantity, panel.runs) == ("iekd", "CKA", "")
    assert 'aria-label="CKA of iekd by epoch. At the last: inheritance 0.62, exploration 0.31."' in panel.plot
    assert len(re.findall('class="line c', panel.plot)) == 2


def test_plots_of_one_quantity_have_one_scale(study):
    study.add("iekd", 0, 0.9, metrics=[halves(1, 0.1, 0.1), halves(2, 0.9, 0.1)])
    study.add("iedml", 0, 0.8, metrics=[halves(1, 0.1, 0.1), halves(2, 0.3, 0.1)])
    ticks = [re.findall(r'class="tick end"[^>]*>([^<]*)<', panel.plot) for panel in watched_panels(only_group(study))]
    assert len(ticks) == 2
    assert ticks[0] == ticks[1]


def test_runs_that_were_made_before_figures_were_written_are_counted_out(study):
    study.add("iekd", 0, 0.9, metrics=[halves(1, 0.2, 0.1), halves(2, 0.6, 0.3)])
    study.add("iekd", 1, 0.9, metrics=[validation(1), validation(2)])
    (panel,) = watched_panels(only_group(study))
    assert panel.runs == "1 of 2 runs"


def test_a_figure_that_is_not_defined_breaks_the_line(study):
    lines = [halves(1, 0.2, None), halves(2, None, None), halves(3, 0.4, None)]
    study.add("iekd", 0, 0.9, metrics=lines)
    (panel,) = watched_panels(only_group(study))
    assert "nan" not in panel.plot
    assert "inheritance 0.40, exploration undefined" in panel.plot


@pytest.mark.parametrize("lines", [(), [validation(1), validation(2)], [halves(1, 0.5, 0.5)]])
def test_without_two_of_them_there_is_no_plot(study, lines):
    study.add("iekd", 0, 0.9, metrics=lines)
    assert watched_panels(only_group(study)) == []


def test_those_of_a_sum_and_of_other_methods_have_names(study):
    lines = [validation(e, **{"iekd.cka_inheritance": 0.5, "iekd2.cka_inheritance": 0.6, "gap": 3.0}) for e in (1, 2)]
    study.add("iekd+iekd", 0, 0.9, metrics=lines)
    cka, gap = watched_panels(only_group(study))
    assert "iekd inheritance 0.50, iekd2 inheritance 0.60" in cka.plot
    assert (gap.quantity, "gap 3.00" in gap.plot) == ("gap", True)


def test_the_page_shows_them_only_where_there_are_some(study):
    study.add("kd", 0, 0.9, metrics=[validation(1), validation(2)])
    page = study.root.parent / "report.html"
    assert "Watched at each validation" not in write_page(study.root, page).read_text(encoding="utf-8")
    study.add("iekd", 0, 0.9, metrics=[halves(1, 0.2, 0.1), halves(2, 0.6, 0.3)])
    text = write_page(study.root, page).read_text(encoding="utf-8")
    assert "Watched at each validation" in text
    assert "CKA of iekd by epoch" in text
