"""Means over seeds and their intervals, against scipy and against numbers computed by hand."""

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import DataError
from tutelage.report.statistics import Estimate, estimate, paired

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
