"""Behind a server a teacher is asked once for each key, whoever asks, and any teacher can stand there."""

import threading
import time

import pytest
import torch
from torch import nn

from tutelage.errors import BudgetError, ConfigError, ShapeError, TeacherError
from tutelage.labels import LabelSpace
from tutelage.models import ModelCard, Network
from tutelage.teachers import BudgetedTeacher, CachedTeacher, CallableTeacher, Ledger, LiveTeacher
from tutelage.teachers.answering import Answering, KeyTakenError
from tutelage.types import Batch

LABELS = LabelSpace(("a", "b", "c"))


def images(*numbers):
    """An image for each number."""
    return torch.tensor(numbers, dtype=torch.uint8).view(-1, 1, 1, 1) + torch.arange(4, dtype=torch.uint8).view(1, 2, 2)


def sums(pixels):
    return pixels.float().view(len(pixels), -1)[:, :3] / 16


def make(function=sums, **settings):
    return Answering(CallableTeacher(function, labels=LABELS, name="sums"), **settings)


def test_a_network_answers_as_it_does_at_hand():
    card = ModelCard(model="python:mine", classes=LABELS.names, image=(1, 2, 2), mean=(0.5,), std=(0.5,))
    network = Network(nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(4, 3)), card)
    answering, none = Answering(network), torch.zeros(2, dtype=torch.int64)
    expected = LiveTeacher(network)(Batch(images(1, 2), none, none, none)).logits
    assert torch.equal(answering(images(1, 2), ""), expected)
    with pytest.raises(ShapeError, match=r"takes images of \(1, 2, 2\), got \(1, 4, 1\)"):
        answering(images(1).view(1, 1, 4, 1), "")


def test_a_key_is_answered_once():
    answering = make()
    first, second = answering(images(1, 2), "k"), answering(images(1, 2), "k")
    assert torch.equal(first, sums(images(1, 2)))
    assert torch.equal(first, second)
    assert answering.answered == 2


def test_without_a_key_nothing_is_remembered():
    answering = make()
    answering(images(1), "")
    answering(images(1), "")
    assert answering.answered == 2


def test_so_many_requests_are_remembered_and_the_oldest_are_forgotten():
    answering = make(remember=2)
    for number in (1, 2, 3, 2, 3):
        answering(images(number), str(number))
    assert answering.answered == 3
    answering(images(1), "1")
    assert answering.answered == 4


@pytest.mark.parametrize("other", [images(2), images(1).view(1, 1, 4, 1), images(1, 1)])
def test_a_key_that_comes_with_other_images_is_refused(other):
    answering = make()
    answering(images(1), "k")
    with pytest.raises(KeyTakenError, match="Idempotency-Key k came with other images before"):
        answering(other, "k")
    assert answering.answered == 1


def test_the_same_key_from_many_threads_at_once_is_answered_once():
    def slow(pixels):
        time.sleep(0.05)
        return sums(pixels)

    answering, answers = make(slow), []
    threads = [threading.Thread(target=lambda: answers.append(answering(images(7), "k"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(torch.equal(answer, sums(images(7))) for answer in answers)
    assert answering.answered == 1


def test_the_teacher_answers_one_request_at_a_time():
    under_way, most = [], []

    def watched(pixels):
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.01)
        under_way.pop()
        return sums(pixels)

    answering = make(watched)
    threads = [threading.Thread(target=answering, args=(images(number), str(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_after_a_failure_of_the_teacher_the_same_key_may_ask_again():
    failures = [RuntimeError("no memory"), TeacherError("no mood")]

    def fails(pixels):
        if failures:
            raise failures.pop()
        return sums(pixels)

    answering = make(fails)
    with pytest.raises(TeacherError, match="no mood"):
        answering(images(1), "k")
    with pytest.raises(RuntimeError, match="no memory"):
        answering(images(1), "k")
    assert torch.equal(answering(images(1), "k"), sums(images(1)))
    assert answering.answered == 1


def test_a_teacher_with_a_cache_and_a_budget_tells_images_apart_by_their_pixels(make_store, tmp_path):
    shown = []
    inner = CallableTeacher(lambda pixels: shown.append(len(pixels)) or sums(pixels), labels=LABELS, name="sums")
    budgeted = BudgetedTeacher(inner, Ledger(tmp_path / "ledger.sqlite"), budget=6, exhausted="skip")
    answering = Answering(CachedTeacher(budgeted, make_store(classes=3, teacher=inner.fingerprint)))
    for numbers in ((1, 2, 3, 4), (4, 3, 5), (1, 2, 3, 4, 5, 6)):
        assert torch.equal(answering(images(*numbers), str(numbers)), sums(images(*numbers)))
    assert shown == [4, 1, 1]
    with pytest.raises(BudgetError, match="may answer 1 of these 2 samples: its budget is spent"):
        answering(images(6, 7), "")


def test_less_than_one_request_to_remember_is_refused():
    with pytest.raises(ConfigError, match="at least 1 request, got 0"):
        make(remember=0)
