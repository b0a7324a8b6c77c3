"""The ledger never holds more rows than the budget, whoever writes and whoever dies."""

import os
import random
import signal
import time

import pytest
import torch

from tutelage.errors import BudgetError, DataError, RunError
from tutelage.teachers import Ledger


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "ledger.sqlite"


def test_a_row_says_who_asked_when_for_what_at_what_price(path):
    ledger, before = Ledger(path, run="mine"), time.time()
    ledger.reserve(torch.tensor([7, 8]), torch.tensor([1, 2]), budget=2, cost=0.5)
    ledger.pay(torch.tensor([7]), torch.tensor([1]))
    paid, reserved = ledger.calls()
    assert (paid.id, paid.view, paid.state, paid.run, paid.cost) == (7, 1, "paid", "mine", 0.5)
    assert before <= paid.reserved_at <= paid.paid_at <= time.time()
    assert (reserved.id, reserved.state, reserved.paid_at) == (8, "reserved", None)
    assert ledger.cost == 1.0


def test_what_is_in_the_ledger_may_be_sent_again_and_counts_once(path):
    ids = torch.arange(3)
    Ledger(path).reserve(ids, ids, budget=3)
    assert Ledger(path).reserve(ids, ids, budget=3).all()
    assert len(Ledger(path)) == 3


def test_two_views_of_a_sample_are_two_calls_and_a_repetition_is_none(path):
    ledger = Ledger(path)
    ledger.reserve(torch.tensor([1, 1, 1]), torch.tensor([0, 1, 0]), budget=2)
    assert len(ledger) == 2


def test_beyond_the_budget_nothing_is_reserved(path):
    ledger, ids = Ledger(path), torch.arange(5)
    ledger.reserve(ids[:2], ids[:2], budget=4)
    with pytest.raises(BudgetError, match="budget of 4 teacher calls has 2 left and this batch needs 3"):
        ledger.reserve(ids, ids, budget=4)
    assert len(ledger) == 2


def test_partly_the_first_ones_are_reserved(path):
    ledger, ids = Ledger(path), torch.tensor([9, 3, 5, 1])
    ledger.reserve(ids[2:3], 0 * ids[2:3], budget=3)
    assert ledger.reserve(ids, 0 * ids, budget=3, partly=True).tolist() == [True, True, True, False]


def test_the_ledger_of_another_teacher_is_refused(path):
    Ledger(path).bind("one")
    Ledger(path).bind("one")
    with pytest.raises(DataError, match="counts the calls of teacher one, not of two"):
        Ledger(path).bind("two")


def test_a_file_that_is_no_ledger_is_refused_and_kept(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no ledger" * 100)
    with pytest.raises(DataError, match="is not a ledger"):
        Ledger(file)
    assert file.read_text() == "no ledger" * 100


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_a_full_disk_is_a_clear_error_and_loses_nothing(path):
    ledger, ids = Ledger(path), torch.arange(5000)
    ledger.reserve(ids[:10], ids[:10], budget=5000)
    pages = ledger._connections[os.getpid()].execute("PRAGMA page_count").fetchone()[0]
    ledger._connections[os.getpid()].execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(RunError, match="no space left"):
        ledger.reserve(ids, ids, budget=5000)
    assert len(Ledger(path)) == 10


def test_four_processes_that_begin_at_once_share_one_budget(path, forked):
    def spend(k):
        def work():
            ledger = Ledger(path)
            for i in range(10):
                ids = torch.arange(4) + 4 * i + 40 * k
                ledger.reserve(ids, ids, budget=37, partly=True)

        return work

    children = [forked(spend(k)) for k in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(Ledger(path)) == 37


def test_a_killed_process_leaves_a_whole_ledger(path, forked):
    draw = random.Random(0)
    ledger, counts = Ledger(path), []

    def work():
        mine = Ledger(path)
        while True:
            ids = torch.arange(3) + 3 * (len(mine) // 3)
            mine.reserve(ids, ids, budget=10**6)

    for _ in range(5):
        child, before = forked(work), len(ledger)
        while len(ledger) == before:
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        counts.append(len(ledger))
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert all(count % 3 == 0 for count in counts)


@pytest.mark.slow
def test_processes_that_make_it_at_the_same_moment_all_succeed(tmp_path, forked):
    """SQLite lets only one of them choose the journal, and has the others fail without waiting."""
    for trial in range(25):
        path, moment = tmp_path / f"{trial}.sqlite", time.time() + 0.01

        def work(path=path, moment=moment):
            time.sleep(max(0.0, moment - time.time()))
            Ledger(path).bind("one")

        children = [forked(work) for _ in range(4)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_it_says_which_calls_it_holds_paid_or_not(tmp_path):
    ledger, ids = Ledger(tmp_path / "l"), torch.tensor([4, 5])
    ledger.reserve(ids, torch.tensor([0, 1]), budget=None)
    ledger.pay(ids[:1], torch.tensor([0]))
    assert ledger.holds(torch.tensor([4, 5, 5, 6]), torch.tensor([0, 1, 0, 0])).tolist() == [True, True, False, False]
