"""What a run pays for, over deaths at any moment, several ranks and a server that fails.

What holds, and is tested here: a row is in the ledger before its image is sent, so the ledger never has more rows than
the budget and never fewer than what was sent. An answer that has reached the disk is never asked for again. Where a
process is killed, the one batch that it had sent and not yet stored is sent again: the ledger counts it once, a server
that knows its key bills it once, and a server that does not, twice.
"""

import json
import random
from collections import Counter
from typing import Any

import billed
import pytest
from books import BATCH, CASES, FEW, SPENT, Books, costly, live
from nursery import KILLED, Nursery, differences

from tutelage.teachers import Ledger

DEATHS = {"just enough": 9, "skip, one view": 7, "skip, all views": 7, "plan": 7}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_kills_at_random_moments_cost_nothing_and_change_nothing(
    case: str, nursery: Nursery, books: Books, peace: Books
) -> None:
    """30 deaths over the four cases: in the middle of a batch, between two, before the first."""
    budget, chance, reached = SPENT[case], random.Random(case), 0
    live(nursery, **peace.next(costly(peace.folder, **CASES[case])))
    config = costly(books.folder, **CASES[case])
    for death in range(1, DEATHS[case] + 1):
        before, paid = books.stored, books.bill
        under_way = chance.random() < 0.8 and reached < 45  # of 64 steps
        kill = [reached + 1, chance.uniform(0.0, 0.02)] if under_way else [0, chance.uniform(0.0, 0.2)]
        reached = max(reached, live(nursery, kill=kill, **books.next(config))["moment"])
        bill, ledger, stored = books.bill, books.ledger, books.stored
        assert before <= stored <= ledger  # what was paid for is not lost,
        assert before + (bill - paid) <= ledger  # nor asked for again, and all that is sent was in the ledger first,
        assert ledger.total() <= budget  # which the budget bounds,
        assert (bill - ledger).total() <= death * BATCH  # but for the batch that was under way
        assert not books.finished
    live(nursery, **books.next(config))
    assert books.ledger == books.stored
    assert books.ledger.total() == books.result["teacher"]["calls"] == budget
    assert differences(peace.run, books.run) == []
    assert peace.bill == peace.ledger == peace.stored


def test_a_batch_that_was_under_way_when_its_process_died_is_sent_again_and_counted_once(
    nursery: Nursery, books: Books
) -> None:
    """The budget has no room for more than the 160 images, and the seventh batch is sent twice."""
    settings: dict[str, Any] = {"protocol": FEW, "budget": 160, "settings": {"epochs": 1}}
    config = costly(books.folder, billed.FATAL, **settings)
    assert nursery.live(**books.next(config))["status"] == [KILLED]
    assert (books.bill.total(), books.ledger.total(), books.stored.total()) == (70, 70, 60)
    assert Counter(call.state for call in Ledger(books.run / "ledger.sqlite").calls()) == {"paid": 60, "reserved": 10}
    in_flight = books.ledger - books.stored
    live(nursery, **books.next(config))
    assert books.ledger == books.stored == books.bill - in_flight
    assert (books.bill.total(), books.ledger.total()) == (170, 160)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["random", "balanced", "k-centre-pixels", "k-centre-student"])
def test_a_plan_is_made_once(plan: str, nursery: Nursery, books: Books) -> None:
    config = costly(books.folder, protocol=FEW, budget=50, plan=plan, settings={"epochs": 1})
    live(nursery, die_at=3, **books.next(config))
    path = books.run / "plan.json"
    made, written = path.read_text(), path.stat().st_mtime_ns
    live(nursery, **books.next(config))
    assert (path.read_text(), path.stat().st_mtime_ns) == (made, written)
    ids = json.loads(made)["ids"]
    assert len(set(ids)) == len(ids) == books.ledger.total() == 50
    assert books.bill == books.ledger == books.stored
    rows = [call.id for call in Ledger(books.run / "ledger.sqlite").calls()]
    assert set(rows) == set(ids)
