"""A budget is never exceeded, and what is beyond it is an error or marked as unknown."""

import math

import pytest
import torch

from tutelage.errors import BudgetError, ConfigError, DataError
from tutelage.teachers import BudgetedTeacher, Ledger, Teacher


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.sqlite")


def test_it_is_a_teacher(counting, ledger):
    teacher = BudgetedTeacher(counting(), ledger, budget=1)
    assert isinstance(teacher, Teacher)
    teacher.compile()


def test_it_answers_as_the_teacher_behind_it_and_keeps_the_order(counting, ledger, batch):
    asked = batch([5, 3, 5, 1], [1, 0, 1, 0])
    answer = BudgetedTeacher(counting(taps=True), ledger, budget=9)(asked)
    direct = counting(taps=True)(asked)
    assert torch.equal(answer.logits, direct.logits)
    assert torch.equal(answer.taps["stage"], direct.taps["stage"])
    assert answer.known is None


def test_a_sample_twice_in_a_batch_is_sent_once_and_two_views_are_sent_both(counting, ledger, batch):
    inner = counting()
    teacher = BudgetedTeacher(inner, ledger, budget=9)
    teacher(batch([5, 3, 5, 3], [1, 0, 1, 2]))
    assert sorted(inner.sent) == [(3, 0), (3, 2), (5, 1)]
    assert teacher.calls == len(ledger) == 3


def test_a_batch_that_does_not_fit_is_refused_before_anything_is_sent(counting, ledger, batch):
    inner = counting()
    teacher = BudgetedTeacher(inner, ledger, budget=4)
    teacher(batch([0, 1, 2]))
    with pytest.raises(BudgetError, match="has 1 left and this batch needs 2"):
        teacher(batch([3, 4]))
    assert len(inner.sent) == len(ledger) == 3
    teacher(batch([3]))
    assert len(ledger) == 4


def test_skipping_answers_the_first_ones_and_marks_the_rest(counting, ledger, batch):
    inner = counting(taps=True)
    teacher = BudgetedTeacher(inner, ledger, budget=2, exhausted="skip")
    answer = teacher(batch([9, 4, 9, 1, 4]))
    assert answer.known.tolist() == [True, True, True, False, True]
    assert torch.equal(answer.logits[3], torch.zeros(5))
    assert torch.equal(answer.taps["stage"][3], torch.zeros(2, 3))
    assert torch.equal(answer.logits[4], counting()(batch([4])).logits[0])
    silent = teacher(batch([7, 8]))
    assert not silent.known.any()
    assert silent.taps["stage"].shape == (2, 2, 3)
    assert teacher.calls == len(ledger) == 2


def test_where_answers_may_be_missing_it_is_always_said_which_are_known(counting, ledger, batch):
    teacher = BudgetedTeacher(counting(), ledger, budget=2, exhausted="skip")
    assert teacher(batch([1, 2])).known.tolist() == [True, True]


def test_a_request_that_fails_is_repeated_without_counting_twice(counting, ledger, batch, monkeypatch):
    inner = counting()
    answer = type(inner).__call__

    def fails(self, asked):
        answer(self, asked)
        raise ConnectionError

    teacher = BudgetedTeacher(inner, ledger, budget=2)
    monkeypatch.setattr(type(inner), "__call__", fails)
    with pytest.raises(ConnectionError):
        teacher(batch([0, 1]))
    assert [call.state for call in ledger.calls()] == ["reserved"] * 2
    monkeypatch.setattr(type(inner), "__call__", answer)
    teacher(batch([0, 1]))
    assert [call.state for call in ledger.calls()] == ["paid"] * 2


def test_the_price_is_noted(counting, ledger, batch):
    BudgetedTeacher(counting(), ledger, budget=9, price=0.25)(batch([0, 1, 2]))
    assert ledger.cost == 0.75


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "at least 1, got 0"),
        ({"budget": -3}, "at least 1, got -3"),
        ({"budget": 1, "price": -1.0}, "0 or more, got -1"),
        ({"budget": 1, "price": math.nan}, "0 or more, got nan"),
        ({"budget": 1, "exhausted": "stop"}, "'error' or 'skip', got 'stop'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(counting, ledger, settings, message):
    with pytest.raises(ConfigError, match=message):
        BudgetedTeacher(counting(), ledger, **settings)


def test_a_budget_below_what_was_spent_is_refused(counting, ledger, batch):
    BudgetedTeacher(counting(), ledger, budget=3)(batch([0, 1, 2]))
    with pytest.raises(ConfigError, match="already holds 3 calls, more than the budget of 2"):
        BudgetedTeacher(counting(), ledger, budget=2)


def test_the_ledger_of_another_teacher_is_refused(counting, ledger):
    ledger.bind("another")
    with pytest.raises(DataError, match="counts the calls of teacher another"):
        BudgetedTeacher(counting(), ledger, budget=2)
