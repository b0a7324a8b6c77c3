"""Means over seeds and their intervals, against scipy and against numbers computed by hand."""

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.report.statistics import Estimate, estimate, holm, paired

ACCURACIES = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def test_three_seeds_by_hand():
    # mean 0.95, deviations ∓0.01: s = 0.01; t(0.975, 2) = 4.30265; 4.30265 × 0.01 / √3 = 0.0248414
    some = estimate([0.94, 0.95, 0.96])
    assert some.mean == pytest.approx(0.95)
    assert some.spread == pytest.approx(0.01)
    assert some.half_width == pytest.approx(0.0248414, rel=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(deadline=None)
@given(ACCURACIES)
def test_the_interval_is_that_of_scipy(values):
    some = estimate(values)
    error = scipy.stats.sem(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, loc=some.mean, scale=error) if error else (some.mean,) * 2
    assert some.mean - some.half_width == pytest.approx(low, abs=1e-9)
    assert some.mean + some.half_width == pytest.approx(high, abs=1e-9)


def test_one_seed_has_neither_interval_nor_spread():
    assert estimate([0.94]) == Estimate(0.94, None, None, 1)


def test_no_value_is_an_error():
    with pytest.raises(DataError, match="at least one value"):
        estimate([])


def test_a_pair_uses_the_seeds_that_both_have_and_no_other():
    gain = paired({0: 0.95, 1: 0.96, 2: 0.99}, {1: 0.94, 0: 0.94, 7: 0.1})
    assert gain == estimate([0.01, 0.02])


def test_a_pair_without_a_common_seed_is_nothing():
    assert paired({0: 0.95}, {1: 0.94}) is None


@settings(deadline=None)
@given(ACCURACIES, ACCURACIES)
def test_swapping_the_two_sides_changes_the_sign_alone(ours, theirs):
    there, back = (paired(dict(enumerate(a)), dict(enumerate(b))) for a, b in ((ours, theirs), (theirs, ours)))
    assert (there.mean, there.half_width) == pytest.approx((-back.mean, back.half_width))
    assert there.excludes_zero == back.excludes_zero


def test_pairing_finds_a_gain_that_two_separate_intervals_hide():
    ours, theirs = {0: 0.90, 1: 0.95, 2: 0.99}, {0: 0.891, 1: 0.94, 2: 0.979}
    assert paired(ours, theirs).excludes_zero
    assert estimate(list(ours.values())).half_width > 0.1


@pytest.mark.parametrize(
    ("values", "called"),
    [([0.01, 0.02, 0.015], True), ([-0.01, -0.02, -0.015], True), ([0.01, -0.01, 0.02], False), ([0.3], False)],
)
def test_a_sign_is_called_when_the_interval_leaves_zero_out(values, called):
    assert estimate(values).excludes_zero is called


def test_the_same_difference_for_every_seed_calls_nothing():
    assert not paired({0: 0.96, 1: 0.97}, {0: 0.95, 1: 0.96}).excludes_zero


def test_rounding_errors_are_no_difference():
    gain = paired({0: 0.1 + 0.2, 1: 0.3}, {0: 0.3, 1: 0.3})
    assert (gain.mean, gain.half_width) == (0, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 449), min_size=3, max_size=6), st.data())
def test_the_p_value_is_that_of_the_paired_t_test_and_agrees_with_the_interval(ours, data):
    theirs = data.draw(st.lists(st.integers(0, 449), min_size=len(ours), max_size=len(ours)))
    differences = {a - b for a, b in zip(ours, theirs, strict=True)}
    gain = paired(*({seed: right / 449 for seed, right in enumerate(each)} for each in (ours, theirs)))
    if len(differences) == 1:
        assert gain.p_value is None
        return
    assert gain.p_value == pytest.approx(scipy.stats.ttest_rel(ours, theirs).pvalue, rel=1e-6)
    assert gain.excludes_zero == (gain.p_value < 0.05) or gain.p_value == pytest.approx(0.05)


def test_one_seed_has_no_p_value():
    assert estimate([0.01]).p_value is None


def test_holm_by_hand():
    # 0.005 × 5, 0.01 × 4, 0.03 × 3, then 0.04 × 2 = 0.08, which may not be below 0.09, and 0.9 × 1
    assert holm([0.04, 0.005, 0.9, 0.03, 0.01]) == pytest.approx([0.09, 0.025, 0.9, 0.09, 0.04])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_at_least_the_p_value_and_at_most_bonferroni(p_values):
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert p <= adjusted <= 1.0
        assert adjusted <= max(len(p_values) * p, *p_values) + 1e-12


@given(st.permutations([0.01, 0.02, 0.5, 0.9]))
def test_holm_does_not_depend_on_the_order(p_values):
    found = dict(zip(p_values, holm(p_values), strict=True))
    assert found == pytest.approx({0.01: 0.04, 0.02: 0.06, 0.5: 1.0, 0.9: 1.0})
