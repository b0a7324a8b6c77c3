"""A cached teacher asks once, answers the same for ever, and loses nothing that was paid for."""

import contextlib
import os
import random
import signal
import time

import pytest
import torch

from tutelage.errors import BudgetError, ConfigError, DataError, RunError, ShapeError, TeacherError, UnknownNameError
from tutelage.teachers import AnswerStore, BudgetedTeacher, CachedTeacher, Content, Ledger, Teacher, fill, verify
from tutelage.types import Outputs

STAGE = (("stage", (2, 3)),)


def test_it_is_a_teacher(counting, make_store):
    teacher = CachedTeacher(counting(), make_store())
    assert isinstance(teacher, Teacher)
    teacher.compile()


@pytest.mark.parametrize("dense", [False, True])
def test_hits_misses_and_repetitions_are_bit_equal_and_within_half_precision(counting, make_store, batch, dense):
    inner = counting(taps=True)
    teacher = CachedTeacher(inner, make_store(taps=STAGE, dense=dense))
    asked = batch([5, 3, 5, 1, 5], [1, 0, 1, 0, 2])
    teacher(batch([3]))
    first, second = teacher(asked), teacher(asked)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.taps["stage"], second.taps["stage"])
    direct = counting(taps=True)(asked)
    torch.testing.assert_close(first.logits, direct.logits, rtol=2**-11, atol=1e-7)
    torch.testing.assert_close(first.taps["stage"], direct.taps["stage"], rtol=2**-11, atol=1e-7)
    assert first.logits.dtype == torch.float32
    assert first.known is None


def test_each_view_of_a_sample_is_asked_once(counting, make_store, batch):
    inner = counting()
    teacher = CachedTeacher(inner, make_store())
    for _ in range(3):
        teacher(batch([5, 3, 5, 3], [1, 0, 1, 2]))
    assert sorted(inner.sent) == [(3, 0), (3, 2), (5, 1)]
    assert teacher.calls == 3


def test_another_run_finds_all_answers(counting, make_store, batch):
    CachedTeacher(counting(), make_store())(batch(range(6)))
    again = CachedTeacher(counting(), AnswerStore.at(make_store().path))
    again(batch(range(6)))
    assert again.calls == 0


def test_only_the_features_that_are_listened_to_are_answered(counting, make_store, batch):
    teacher = CachedTeacher(counting(taps=True), make_store(taps=STAGE))
    teacher.listen([])
    assert teacher(batch([1])).taps == {}
    teacher.listen(["stage"])
    assert set(teacher(batch([1])).taps) == {"stage"}
    assert teacher.calls == 1
    assert teacher.shapes == {"logits": (5,), "stage": (2, 3)}
    with pytest.raises(UnknownNameError, match="unknown feature of this cache 'stage9'"):
        teacher.listen(["stage9"])


def test_a_store_of_another_teacher_or_other_outputs_is_refused(counting, make_store):
    with pytest.raises(DataError, match="holds the answers of teacher another"):
        CachedTeacher(counting(), make_store(teacher="another"))
    with pytest.raises(ConfigError, match="keeps 7 classes, the teacher has 5"):
        CachedTeacher(counting(), make_store(classes=7))
    with pytest.raises(ConfigError, match="keeps 'stage'"):
        CachedTeacher(counting(), make_store(taps=STAGE))


def test_mixed_images_are_refused(counting, make_store, batch):
    teacher, asked = CachedTeacher(counting(), make_store()), batch([1])
    mixed = asked._replace(images=asked.images.float())
    with pytest.raises(ConfigError, match="mixed images cannot be cached"):
        teacher(mixed)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (torch.tensor([[1.0, 2.0, float("nan"), 0.0, 0.0]]), TeacherError),
        (torch.tensor([[1.0, 70_000.0, 0.0, 0.0, 0.0]]), TeacherError),
        (torch.zeros(1, 4), ShapeError),
    ],
)
def test_an_answer_that_cannot_be_kept_is_an_error_and_is_not_kept(
    counting, make_store, batch, monkeypatch, answer, error
):
    inner, store = counting(), make_store()
    monkeypatch.setattr(type(inner), "__call__", lambda self, asked: Outputs(answer, {}))
    with pytest.raises(error, match=r"the teacher|a teacher"):
        CachedTeacher(inner, store)(batch([1]))
    assert len(store) == 0


def test_when_the_disk_is_full_the_teacher_is_not_asked(counting, make_store, batch, monkeypatch):
    inner, store = counting(), make_store()

    def full(count):
        raise RunError("the disk is full")

    monkeypatch.setattr(store, "check_room", full)
    with pytest.raises(RunError):
        CachedTeacher(inner, store)(batch([1]))
    assert inner.sent == []


class TestTop:
    def test_the_top_and_the_tail_are_kept(self, counting, make_store, batch):
        teacher = CachedTeacher(counting(classes=40), make_store(classes=40, top=3))
        given = teacher(batch(range(8))).logits.softmax(1)
        true = counting(classes=40)(batch(range(8))).logits.softmax(1)
        top = true.topk(3, 1)
        torch.testing.assert_close(given.gather(1, top.indices), top.values, rtol=3e-3, atol=1e-5)
        torch.testing.assert_close(given.sum(1), torch.ones(8))
        tail = given.scatter(1, top.indices, 0.0)
        torch.testing.assert_close(tail.sum(1), 1 - top.values.sum(1), rtol=5e-2, atol=1e-3)
        assert (tail > 0).sum(1).tolist() == [37] * 8

    def test_all_classes_may_be_the_top(self):
        content, logits = Content(num_classes=4, top=4), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
        back = content.decode(content.encode(Outputs(logits, {}))).logits
        torch.testing.assert_close(back, logits.log_softmax(1), rtol=1e-3, atol=1e-3)

    def test_class_numbers_above_32767_are_kept(self):
        content, logits = Content(num_classes=2**16, top=1), torch.zeros(1, 2**16)
        logits[0, 65_535] = 20.0
        assert content.decode(content.encode(Outputs(logits, {}))).logits.argmax() == 65_535

    @pytest.mark.parametrize(("classes", "top"), [(5, 0), (5, 6), (2**16 + 1, 3)])
    def test_settings_that_make_no_sense_are_refused(self, classes, top):
        with pytest.raises(ConfigError, match="top"):
            Content(num_classes=classes, top=top)

    def test_what_a_budget_leaves_unknown_is_zero(self, counting, make_store, batch, tmp_path):
        inner = BudgetedTeacher(counting(), Ledger(tmp_path / "l"), budget=1, exhausted="skip")
        answer = CachedTeacher(inner, make_store(top=2))(batch([1, 2]))
        assert answer.known.tolist() == [True, False]
        assert not answer.logits[1].any()


def test_filling_asks_for_what_is_missing_and_verifying_finds_no_difference(counting, make_store, batch):
    store, inner = make_store(taps=STAGE), counting(taps=True)
    teacher = CachedTeacher(inner, store)
    teacher(batch([3, 4]))
    ids = torch.arange(20)
    assert fill(teacher, batch, ids, 0 * ids, batch_size=7) == 18
    assert fill(teacher, batch, ids, 0 * ids) == 0
    found = verify(store, counting(taps=True), batch, sample=9)
    assert (found.checked, found.largest) == (9, 0.0)


def test_verifying_finds_an_answer_that_is_wrong(counting, make_store, batch):
    store = make_store()
    row = store.subject.content.encode(Outputs(torch.full((1, 5), 50.0), {}))
    store.put(torch.tensor([2]), torch.tensor([0]), row)
    assert verify(store, counting(), batch).largest > 40


def test_an_empty_cache_cannot_be_verified(counting, make_store, batch):
    with pytest.raises(DataError, match="no answers to verify"):
        verify(make_store(), counting(), batch)


def test_exhaustion_stops_or_goes_on_with_the_answers_at_hand(counting, make_store, batch, tmp_path):
    ledger, store, inner = Ledger(tmp_path / "l"), make_store(taps=STAGE), counting(taps=True)
    strict = CachedTeacher(BudgetedTeacher(inner, ledger, budget=3), store)
    strict(batch([0, 1, 2]))
    with pytest.raises(BudgetError):
        strict(batch([1, 2, 3]))
    lenient = CachedTeacher(BudgetedTeacher(inner, ledger, budget=3, exhausted="skip"), store)
    answer = lenient(batch([3, 2, 2]))
    assert answer.known.tolist() == [False, True, True]
    assert torch.equal(answer.logits[1], strict(batch([2])).logits[0])
    assert not answer.logits[0].any()
    assert lenient.calls == 0
    assert lenient(batch([0, 1])).known.all()  # given on every rank, or they could not gather it
    assert len(inner.sent) == len(ledger) == 3


KEYS = [(i, v) for i in range(30) for v in range(2)]


@pytest.fixture
def stack(counting, make_store, tmp_path):
    """Builds teacher, store and ledger as a new process of a run would."""

    def build(budget, wait=0.001):
        store = make_store()
        ledger = Ledger(store.path / "ledger.sqlite")
        inner = counting(wait=wait)
        return CachedTeacher(BudgetedTeacher(inner, ledger, budget=budget, exhausted="skip"), store), inner, ledger

    return build


def work(build, batch, budget, seed):
    teacher, draw = build(budget)[0], random.Random(seed)
    order = KEYS + KEYS[:7]
    draw.shuffle(order)
    for at in range(0, len(order), 6):
        teacher(batch(*zip(*order[at : at + 6], strict=True)))


def kill(child):
    """Also when it has ended and was waited for."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def stored(store):
    ids, views = torch.tensor(KEYS).T
    return {key for key, there in zip(KEYS, store.get(ids, views)[1].tolist(), strict=True) if there}


@pytest.mark.parametrize("budget", [60, 25])
def test_four_processes_at_once_pay_for_nothing_twice(stack, forked, batch, make_store, budget):
    children = [forked(lambda seed=seed: work(stack, batch, budget, seed)) for seed in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    _, inner, ledger = stack(budget)
    assert len(inner.sent) == len(set(inner.sent)) == len(ledger) == budget
    assert stored(make_store()) == set(inner.sent)
    assert {call.state for call in ledger.calls()} == {"paid"}


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_and_never_exceed_the_budget(stack, forked, batch, make_store):
    budget, draw, sends, progressed = 50, random.Random(3), 0, 0
    _, inner, ledger = stack(budget)
    for trial in range(30):
        before = stored(make_store())
        child = forked(lambda seed=trial: work(lambda b: stack(b, wait=0.004), batch, budget, seed))
        if trial % 3 == 0:  # dies at its work, however slow the machine; the others die anywhere
            while len(inner.sent) == sends and not os.waitpid(child, os.WNOHANG)[0]:
                time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.02))
        kill(child)
        sent, after = inner.sent, stored(make_store())
        assert before <= after  # nothing is lost
        assert not before & set(sent[sends:])  # what is stored is not asked again
        assert len(sent[sends:]) == len(set(sent[sends:]))
        rows = {(call.id, call.view) for call in ledger.calls()}
        assert set(sent) <= rows  # reserved on disk before it is sent
        assert len(rows) <= budget
        progressed += len(sent) > sends
        sends = len(sent)
    assert progressed
    work(stack, batch, budget, 0)
    assert len(set(inner.sent)) == len(ledger) == len(stored(make_store())) == budget
