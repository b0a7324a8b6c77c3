"""Parts of plots."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.report.chart import Frame, apart, ticks

FRAME = Frame(width=200.0, height=100.0, right=56.0, x=(0.0, 10.0), y=(0.0, 1.0))


@settings(deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_inside_and_are_not_too_many(low, length, most):
    high = low + length
    found = ticks(low, high, most)
    slack = 1e-6 * length
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert len(found) <= most + 1


def test_an_axis_of_one_number_has_one_tick():
    assert ticks(3.0, 3.0, 5) == [3.0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_names_do_not_overlap_and_keep_their_order(wanted):
    places = apart(wanted, 10.0, 0.0, 100.0)
    ordered = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    gaps = [places[b] - places[a] for a, b in itertools.pairwise(ordered)]
    assert all(gap >= 10 - 1e-6 for gap in gaps)
    assert min(places) >= -1e-6
    assert max(places) <= 100 + 1e-6


def test_names_with_room_stay_where_they_belong():
    assert apart([10.0, 50.0, 90.0], 14.0, 0.0, 100.0) == [10.0, 50.0, 90.0]


def test_a_line_is_interrupted_where_a_number_is_missing():
    path = FRAME.line([(0.0, 0.0), (1.0, 0.5), (2.0, math.nan), (3.0, 1.0), (4.0, 1.0)], "c0", "kd")
    assert path.count("M") == 2
    assert "nan" not in path


def test_a_line_without_numbers_is_not_drawn():
    assert FRAME.line([(0.0, math.nan), (1.0, math.inf)], "c0", "kd") == ""


@pytest.mark.parametrize("part", [FRAME.line([(0.0, 0.0), (1.0, 1.0)], "c0", "<b>"), FRAME.axes("<b>")])
def test_names_are_escaped(part):
    assert "&lt;b&gt;" in part
    assert "<b>" not in part
