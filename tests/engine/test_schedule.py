"""Learning rates as the literature draws them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.engine import ScheduleConfig
from tutelage.engine.schedule import rate_at

few = settings(max_examples=30, deadline=None)
shares = st.floats(0, 0.999)
names = st.sampled_from(["multistep", "cosine", "onecycle", "constant"])


@few
@given(names, shares, st.floats(0, 0.9))
def test_the_rate_never_leaves_zero_to_one(name, done, warmup):
    assert 0 <= rate_at(ScheduleConfig(name=name, warmup=warmup), done) <= 1


@few
@given(names, shares, shares)
def test_after_the_warm_up_the_rate_never_rises(name, one, other):
    schedule = ScheduleConfig(name=name, warmup=0.0)
    early, late = sorted([one, other])
    assert rate_at(schedule, early) >= rate_at(schedule, late) - 1e-12


@pytest.mark.parametrize("name", ["multistep", "cosine", "onecycle", "constant"])
def test_the_warm_up_rises_in_a_straight_line_to_one(name):
    schedule = ScheduleConfig(name=name, warmup=0.25, milestones=(0.5,))
    assert [rate_at(schedule, done) for done in (0.0, 0.0625, 0.125, 0.25)] == [0.0, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(("epoch", "rate"), [(149, 1.0), (150, 0.1), (180, 0.01), (209, 0.01), (210, 0.001)])
def test_the_milestones_are_those_of_the_literature(epoch, rate):
    # lr_decay_epochs 150, 180, 210 of 240: train_student.py of HobbitLong/RepDistiller@b84f547
    assert rate_at(ScheduleConfig(name="multistep", warmup=0.0), epoch / 240) == pytest.approx(rate)


def test_the_cosine_is_half_way_in_the_middle_and_ends_at_its_floor():
    schedule = ScheduleConfig(name="cosine", warmup=0.0, floor=0.1)
    assert rate_at(schedule, 0.5) == pytest.approx(0.55)
    assert rate_at(schedule, 1.0) == pytest.approx(0.1)


def test_one_cycle_comes_down_in_a_straight_line_to_its_floor():
    schedule = ScheduleConfig(name="onecycle", warmup=0.2, floor=0.5)
    assert [rate_at(schedule, done) for done in (0.2, 0.6, 1.0)] == pytest.approx([1.0, 0.75, 0.5])


def test_constant_is_constant():
    assert {rate_at(ScheduleConfig(name="constant", warmup=0.0), done / 10) for done in range(10)} == {1.0}
