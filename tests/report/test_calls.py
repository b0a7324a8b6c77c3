"""Accuracy against teacher calls: what makes a curve, and how many calls equal KD."""

import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.report import load_runs
from tutelage.report.calls import calls_to_reach, charts_of
from tutelage.report.groups import groups_of


def only_chart(study):
    (chart,) = charts_of(groups_of(load_runs(study.root)))
    return chart


def line(chart, label):
    return next(each for each in chart.lines if each.label == label)


def test_a_height_between_two_points_is_interpolated():
    # from 0.20 at 1600 to 0.30 at 2400: 0.25 is half way, 0.225 a quarter
    curve = {1600: 0.20, 2400: 0.30, 4800: 0.40}
    assert calls_to_reach(curve, 0.25) == pytest.approx(2000)
    assert calls_to_reach(curve, 0.225) == pytest.approx(1800)
    assert calls_to_reach(curve, 0.375) == pytest.approx(4200)


def test_a_point_that_equals_the_height_is_its_number_of_calls():
    assert calls_to_reach({1600: 0.20, 2400: 0.30, 4800: 0.40}, 0.30) == 2400
    assert calls_to_reach({1600: 0.20, 2400: 0.30, 4800: 0.40}, 0.40) == 4800


def test_of_several_crossings_the_first_from_below_counts():
    # up to 0.30 at 2000, down to 0.20 at 3000, up to 0.40 at 4000
    curve = {1000: 0.20, 2000: 0.30, 3000: 0.20, 4000: 0.40}
    assert calls_to_reach(curve, 0.25) == pytest.approx(1500)
    assert calls_to_reach(curve, 0.35) == pytest.approx(3750)


@pytest.mark.parametrize("target", [0.20, 0.15])
def test_a_curve_that_begins_at_the_height_needs_the_fewest_calls_or_less(target):
    assert calls_to_reach({1600: 0.20, 2400: 0.10, 4800: 0.40}, target) == -math.inf


def test_a_curve_that_stays_below_never_reaches_it():
    assert calls_to_reach({1600: 0.20, 2400: 0.39, 4800: 0.30}, 0.40) == math.inf


@hypothesis_settings(deadline=None)
@given(st.dictionaries(st.integers(1, 100), st.floats(0, 1), min_size=2, max_size=6), st.floats(0, 1))
def test_what_is_found_lies_on_the_curve_and_all_before_it_below(curve, target):
    found = calls_to_reach(curve, target)
    if math.isfinite(found):
        assert min(curve) <= found <= max(curve)
        assert all(accuracy < target for n, accuracy in curve.items() if n < found - 1e-6)
    elif found < 0:
        assert curve[min(curve)] >= target
    else:
        assert max(curve.values()) < target


def test_sizes_of_one_variant_are_one_line_and_the_epochs_do_not_split_it(study):
    study.curve(kd={2000: (0.20, 0.22), 4000: (0.30, 0.32)}, ce={2000: (0.15,), 4000: (0.25,)})
    chart = only_chart(study)
    assert chart.sizes == (1600, 3200)
    assert line(chart, "kd").last == {1600: {0: 0.20, 1: 0.22}, 3200: {0: 0.30, 1: 0.32}}
    assert line(chart, "student alone").last == {1600: {0: 0.15}, 3200: {0: 0.25}}


def test_one_size_trained_for_two_lengths_is_two_lines(study):
    study.curve(kd={2000: (0.20,), 4000: (0.30,)})
    longer = study.few(2000, epochs=99) | {"epochs": 99}
    study.add("kd", 0, 0.25, settings=longer)
    chart = only_chart(study)
    assert sorted((tuple(each.rows), each.last[max(each.rows)][0]) for each in chart.lines) == [
        ((1600,), 0.20),
        ((1600,), 0.25),
        ((3200,), 0.30),
    ]


def test_two_subsets_that_round_to_as_many_calls_are_not_mixed(study):
    for size, accuracy in ((10, 0.2), (11, 0.3)):
        settings = study.few(size)
        settings["data"]["protocol"]["validation"] = 0.9  # one call each
        settings["stages"][0]["epochs"] = settings["epochs"] = 5
        study.add("kd", 0, accuracy, settings=settings)
    assert sorted(each.last[1][0] for each in only_chart(study).lines) == [0.2, 0.3]


def test_other_settings_and_mixtures_make_other_lines(study):
    for mix in (None, {"kind": "mixup", "alpha": 1.0}):
        for subset_size in (2000, 4000):
            study.add("kd", 0, 0.2, settings=study.few(subset_size, mix=mix))
    assert sorted(each.label for each in only_chart(study).lines) == ["kd", "kd (mix.kind=mixup)"]


def test_the_line_that_ends_highest_comes_first_and_those_that_end_earlier_last(study):
    study.curve(kd={2000: (0.4,), 4000: (0.5,)}, ckd={2000: (0.3,), 4000: (0.6,)}, rkd={2000: (0.9,)})
    assert [each.label for each in only_chart(study).lines] == ["ckd", "kd", "rkd"]


def test_another_protocol_is_another_chart(study):
    study.curve(kd={2000: (0.4,), 4000: (0.5,)})
    labelled = study.few(2000)
    labelled["data"]["protocol"]["unused"] = "labels"
    study.add("kd", 0, 0.6, settings=labelled)
    study.add("kd", 0, 0.9)
    charts = charts_of(groups_of(load_runs(study.root)))
    assert [(chart.sizes, chart.lines[0].last[1600][0]) for chart in charts] == [((1600, 3200), 0.4), ((1600,), 0.6)]


@pytest.mark.parametrize(("answers", "shown"), [({"budget": 1599}, 0), ({"plan": "random"}, 0), ({"budget": 1600}, 1)])
def test_a_run_that_may_ask_less_than_its_protocol_allows_is_in_no_chart(study, answers, shown):
    study.add("kd", 0, 0.4, settings=study.few(2000) | {"teacher": {"weights": "t", "answers": answers}})
    assert len(charts_of(groups_of(load_runs(study.root)))) == shown


def test_the_reference_is_kd_as_the_others_are_trained_and_of_its_settings_the_strongest(study):
    study.curve(ckd={2000: (0.4,), 4000: (0.5,)}, rkd={2000: (0.4,), 4000: (0.5,)})
    for temperature, accuracies in ((1.0, (0.30, 0.50)), (4.0, (0.35, 0.48))):
        for subset_size, accuracy in zip((2000, 4000), accuracies, strict=True):
            settings = study.few(subset_size) | {"method_settings": {"temperature": temperature}}
            study.add("kd", 0, accuracy, settings=settings)
    for subset_size in (2000, 4000):
        settings = study.few(subset_size, mix={"kind": "mixup", "alpha": 1.0})
        study.add("kd", 0, 0.9, settings=settings | {"method_settings": {"temperature": 4.0}})
    chart = only_chart(study)
    assert chart.reference.label == "kd"  # as most: temperature 4, no mixture
    assert [each.label for each in chart.candidates] == ["kd (temperature=1)", "kd"]
    assert chart.gain(line(chart, "ckd"), 1600).mean == pytest.approx(0.05)


def test_calls_needed_are_found_by_seed(study):
    # at 3200 calls KD has 0.30, 0.32 and 0.28; CKD rises by 0.10 a 1600 calls from 0.22, 0.23 and 0.19:
    # it needs 1600 + 1600 · (0.08, 0.09, 0.09) / 0.10 = 2880, 3040, 3040
    study.curve(
        kd={2000: (0.20, 0.22, 0.18), 4000: (0.30, 0.32, 0.28)},
        ckd={2000: (0.22, 0.23, 0.19), 4000: (0.32, 0.33, 0.29)},
    )
    chart = only_chart(study)
    ckd = line(chart, "ckd")
    assert chart.needed(ckd, 3200) == pytest.approx({0: 2880, 1: 3040, 2: 3040})
    saved = chart.saved(ckd, 3200)
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem([320, 160, 160])
    assert (saved.mean, saved.half_width) == (pytest.approx(640 / 3), pytest.approx(half))
    assert chart.needed(ckd, 1600) == dict.fromkeys(range(3), -math.inf)
    assert chart.saved(ckd, 1600) is None


def test_a_saving_needs_a_value_for_every_seed(study):
    study.curve(kd={2000: (0.20, 0.20), 4000: (0.30, 0.30)}, ckd={2000: (0.25, 0.2), 4000: (0.35, 0.29)})
    chart = only_chart(study)
    needed = chart.needed(line(chart, "ckd"), 3200)
    assert (needed[0], needed[1]) == (pytest.approx(2400), math.inf)
    assert chart.saved(line(chart, "ckd"), 3200) is None


def test_a_seed_that_lacks_a_size_has_no_number_of_calls(study):
    study.curve(kd={2000: (0.20, 0.20), 4000: (0.30, 0.30)}, ckd={2000: (0.15, 0.2), 4000: (0.35,)})
    chart = only_chart(study)
    assert list(chart.needed(line(chart, "ckd"), 3200)) == [0]


def test_without_kd_there_is_no_gain_and_the_student_alone_needs_no_calls(study):
    study.curve(ckd={2000: (0.2,), 4000: (0.3,)}, ce={2000: (0.1,), 4000: (0.2,)})
    chart = only_chart(study)
    assert chart.reference is None
    assert all(chart.gain(each, n) is None for each in chart.lines for n in chart.sizes)
    study.curve(kd={2000: (0.2,), 4000: (0.3,)})
    assert only_chart(study).needed(line(only_chart(study), "student alone"), 1600) == {}


def test_a_protocol_without_its_size_is_named(study):
    settings = study.few(2000)
    del settings["data"]["protocol"]["subset_size"]
    study.add("kd", 0, 0.4, settings=settings)
    with pytest.raises(DataError, match=r"config.json of runs/001-kd-0: .* at data\.protocol\.subset_size"):
        groups_of(load_runs(study.root))
