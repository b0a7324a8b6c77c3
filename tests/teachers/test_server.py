"""A server answers what it is asked once, whatever goes wrong on the way, and a run survives its death."""

import threading
import time

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, TeacherError
from tutelage.labels import LabelSpace
from tutelage.models import ModelCard, Network
from tutelage.teachers import (
    AnswerStore,
    BudgetedTeacher,
    CachedTeacher,
    CallableTeacher,
    Content,
    HttpTeacher,
    Ledger,
    LiveTeacher,
    Subject,
    serve,
)
from tutelage.types import Batch

CARD = ModelCard(model="python:mine", classes=("a", "b", "c"), image=(1, 4, 4), mean=(0.5,), std=(0.5,))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Dropout(0.9), nn.Linear(8, 3)), CARD)


def batch(ids, views=None):
    """Images that (id, view) determines."""
    ids = torch.as_tensor(ids)
    views = torch.zeros_like(ids) if views is None else torch.as_tensor(views)
    images = (ids[:, None] * 131 + views[:, None] * 17 + torch.arange(16) * ids[:, None]).remainder(251)
    images[:, 0], images[:, 1] = ids, views
    return Batch(images.view(-1, 1, 4, 4).to(torch.uint8), ids, ids, views)


def counting(function, seen):
    """A teacher that writes down how often it was shown each image."""

    def answer(images):
        for image in images:
            key = image.numpy().tobytes()
            seen[key] = seen.get(key, 0) + 1
        return function(images)

    return CallableTeacher(answer, labels=LabelSpace(CARD.classes), name="counting")


def sums(images):
    return images.float().view(len(images), -1)[:, :3] / 16


# What is answered


def test_a_network_answers_over_http_as_it_does_at_hand(network):
    expected = LiveTeacher(network)(batch(range(20))).logits
    with serve(network) as server:
        teacher = HttpTeacher(server.url, batch_size=8)
        assert teacher.labels.names == CARD.classes
        assert teacher.fingerprint == network.fingerprint()
        torch.testing.assert_close(teacher(batch(range(20))).logits, expected)
        teacher.close()
        assert server.answered == teacher.calls == 20


def test_json_and_raw_give_equal_logits(network):
    with serve(network) as server:
        answers = []
        for body in ("raw", "json"):
            teacher = HttpTeacher(server.url, body=body, batch_size=5)
            answers.append(teacher(batch(range(12))).logits)
            teacher.close()
        assert torch.equal(*answers)
        assert server.answered == 12  # a key does not depend on the format


def test_any_teacher_can_be_served():
    with serve(counting(sums, {})) as server:
        teacher = HttpTeacher(server.url)
        assert torch.equal(teacher(batch([5, 9])).logits, sums(batch([5, 9]).images))
        teacher.close()


def test_a_spent_budget_is_a_refusal_and_a_teacher_that_fails_is_asked_again(tmp_path):
    moods = [RuntimeError("no memory"), TeacherError("no mood")]

    def moody(images):
        if moods:
            raise moods.pop()
        return sums(images)

    inner = BudgetedTeacher(counting(moody, {}), Ledger(tmp_path / "ledger.sqlite"), budget=2)
    with serve(inner) as server:
        teacher = HttpTeacher(server.url, backoff=0.001)
        assert torch.equal(teacher(batch([1, 2])).logits, sums(batch([1, 2]).images))
        with pytest.raises(TeacherError, match=r"refuses /v1/answers \(402 .*the budget of 2 teacher calls has 0 left"):
            teacher(batch([3]))
        teacher.close()
        assert server.answered == 2


# Failures


@pytest.mark.parametrize("concurrency", [1, 4])
def test_though_every_third_request_fails_each_sample_is_answered_once_and_rightly(concurrency):
    seen = {}
    with serve(counting(sums, seen), fail_share=0.3, seed=concurrency) as server:
        teacher = HttpTeacher(server.url, batch_size=3, retries=20, backoff=0.001, concurrency=concurrency)
        for first in range(0, 240, 40):
            asked = batch(range(first, first + 40))
            assert torch.equal(teacher(asked).logits, sums(asked.images))
        teacher.close()
        assert server.answered == teacher.calls == 240
    assert len(seen) == 240
    assert set(seen.values()) == {1}


def stack(server, tmp_path, *, budget=1000, **settings):
    """A cache on a budget on a remote teacher, and what of it is counted."""
    settings = {"batch_size": 4, "retries": 20, "backoff": 0.001, **settings}
    remote = HttpTeacher(server.url, **settings)
    content = Content(num_classes=3)
    store = AnswerStore(tmp_path, Subject(teacher=remote.fingerprint, views="v", data="d", content=content))
    ledger = Ledger(store.path / "ledger.sqlite")
    return CachedTeacher(BudgetedTeacher(remote, ledger, budget=budget), store), remote, ledger, store


def test_ledger_and_server_count_the_distinct_samples_though_every_third_request_fails(tmp_path):
    seen, generator, asked = {}, torch.Generator().manual_seed(0), set()
    with serve(counting(sums, seen), fail_share=0.3, seed=5) as server:
        teacher, remote, ledger, store = stack(server, tmp_path, budget=120)
        for _ in range(12):
            ids, views = (torch.randint(0, most, (24,), generator=generator) for most in (40, 3))
            asked |= set(zip(ids.tolist(), views.tolist(), strict=True))
            assert torch.equal(teacher(batch(ids, views)).logits, sums(batch(ids, views).images))
        remote.close()
        assert 100 < len(asked) <= 120
        assert len(ledger) == len(asked) == server.answered == len(seen) == len(store)
    assert {(call.id, call.view) for call in ledger.calls()} == asked
    assert {call.state for call in ledger.calls()} == {"paid"}
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("request_size", [8, 2])
def test_after_the_death_of_a_server_a_new_one_is_asked_only_for_what_the_cache_lacks(tmp_path, request_size):
    asked, dying, first, second = [batch(range(i, i + 8)) for i in range(0, 80, 8)], threading.Event(), {}, {}

    def until_it_dies(images):
        if len(first) > 32:
            dying.set()
            time.sleep(0.05)
        return sums(images)

    def run(teacher):
        for part in asked:
            assert torch.equal(teacher(part).logits, sums(part.images))

    server = serve(counting(until_it_dies, first))
    killer = threading.Thread(target=lambda: dying.wait(5) and server.close())
    killer.start()
    teacher, remote, _, store = stack(server, tmp_path, batch_size=request_size, retries=2)
    with pytest.raises(TeacherError, match=rf"{server.url} failed 3 times.*nothing that was answered is lost"):
        run(teacher)
    remote.close()
    killer.join()
    held = len(store)
    assert held == remote.calls
    assert 32 <= held < 80  # whole requests, whether or not the rest of their batch was answered
    with serve(counting(sums, second), fail_share=0.3) as server:
        teacher, remote, ledger, store = stack(server, tmp_path)
        run(teacher)
        remote.close()
        assert server.answered == 80 - held
    assert set(second.values()) == {1}
    assert len(ledger) == len(store) == 80
    assert {call.state for call in ledger.calls()} == {"paid"}


def test_a_client_that_lost_patience_gets_the_answer_of_its_first_request():
    seen = {}

    def slow(images):
        time.sleep(0.2)
        return sums(images)

    with serve(counting(slow, seen)) as server:
        teacher = HttpTeacher(server.url, timeout=0.05, retries=20, backoff=0.01)
        assert torch.equal(teacher(batch([1, 2])).logits, sums(batch([1, 2]).images))
        teacher.close()
    assert set(seen.values()) == {1}


# Its life


def test_closing_twice_does_nothing_and_frees_the_port(network):
    server = serve(network)
    port = int(server.url.rpartition(":")[2])
    teacher = HttpTeacher(server.url, retries=0)
    teacher(batch([1]))
    server.close()
    server.close()
    with pytest.raises(TeacherError, match="failed 1 times"):
        teacher(batch([2]))
    teacher.close()
    with serve(network, port=port) as again:
        assert again.url == server.url


def test_waiting_ends_when_the_server_is_closed(network):
    server = serve(network)
    threading.Timer(0.05, server.close).start()
    server.wait()
    with pytest.raises(TeacherError, match="no teacher answers at"):
        HttpTeacher(server.url)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fail_share": 1.5}, "from 0 to 1, got 1.5"),
        ({"remember": 0}, "at least 1 request, got 0"),
        ({"port": 70_000}, "choose another port"),
    ],
)
def test_settings_that_make_no_sense_are_refused(network, settings, message):
    with pytest.raises(ConfigError, match=message):
        serve(network, **settings)


def test_a_port_that_is_taken_is_told(network):
    with serve(network) as server, pytest.raises(ConfigError, match=r"cannot listen at 127\.0\.0\.1:"):
        serve(network, port=int(server.url.rpartition(":")[2]))
