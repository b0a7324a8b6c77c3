"""A server is asked again with patience, and not longer than that."""

import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import torch

from tutelage.errors import TeacherError
from tutelage.teachers.sending import Patience, Sender

sys.path.insert(0, str(Path(__file__).parent))

from scripted import Scripted, batch, right, status, sums


@pytest.fixture
def server():
    with Scripted() as server:
        yield server


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server, code):
    server.script = [status(code), status(code), right]
    assert torch.equal(server.ask(retries=2)(batch()).logits, sums(batch().images))


@pytest.mark.parametrize("code", [301, 400, 401, 402, 403, 404, 413, 422])
def test_a_refusal_is_not_tried_again(server, code):
    server.script = [status(code)]
    with pytest.raises(TeacherError, match=rf"refuses /v1/answers \({code} .*said so"):
        server.ask()(batch())
    assert len(server.requests) == 1


def test_retries_end(server):
    server.script = [status(503)]
    with pytest.raises(TeacherError, match="failed 4 times, the last time with 503 Service Unavailable: said so"):
        server.ask(retries=3)(batch())
    assert len(server.requests) == 4


def test_a_reply_that_takes_too_long_is_asked_for_again(server):
    release = threading.Event()

    def stuck(request):
        release.wait(5)
        return right(request)

    server.script = [stuck, right]
    assert torch.equal(server.ask(timeout=0.1)(batch()).logits, sums(batch().images))
    server.script = [stuck]
    with pytest.raises(TeacherError, match="failed 1 times, the last time with ReadTimeout"):
        server.ask(timeout=0.2, retries=0)(batch())
    release.set()


@pytest.mark.slow
def test_retry_after_is_waited_for(server):
    server.script = [status(429, after="1"), right]
    server.ask()(batch())
    first, second = (request["time"] for request in server.requests)
    assert second - first >= 1.0


def test_a_server_that_wants_to_be_left_alone_for_an_hour_is_not_waited_for(server):
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.script = [status(429, after="3600"), status(503, after=date)]
    with pytest.raises(TeacherError, match="wants to be asked again in 3600 s only"):
        server.ask()(batch())
    with pytest.raises(TeacherError, match=r"wants to be asked again in (3600|359\d) s only"):
        server.ask()(batch())


@pytest.mark.parametrize("odd", ["soon", "-5", "", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_says_nothing_or_lies_in_the_past_is_no_wait(server, odd):
    server.script = [status(429, after=odd), right]
    assert torch.equal(server.ask()(batch()).logits, sums(batch().images))


def test_waits_are_drawn_from_zero_to_a_bound_that_doubles_by_a_generator_of_their_own():
    sender, again = (Sender("http://127.0.0.1:1", Patience(backoff=0.5, seed=3)) for _ in range(2))
    before = random.getstate()
    waits = [[sender._jitter(attempt) for _ in range(200)] for attempt in range(4)]
    assert random.getstate() == before
    for attempt, drawn in enumerate(waits):
        bound = 0.5 * 2**attempt
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound
    assert [again._jitter(0) for _ in range(200)] == waits[0]
    assert sender._jitter(5000) <= 600
    sender.close()
    again.close()


def test_the_rate_is_kept_by_all_threads_together(server):
    teacher, started = server.ask(batch_size=1, rate=100.0, concurrency=4), time.monotonic()
    teacher(batch(12))
    assert time.monotonic() - started >= 11 / 100
    assert len(server.requests) == 12


def test_so_many_requests_are_under_way_at_once_and_no_more(server):
    barrier, under_way, most, lock = threading.Barrier(3, timeout=5), [0], [0], threading.Lock()

    def together(request):
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        barrier.wait()  # passes only when three are here
        with lock:
            under_way[0] -= 1
        return right(request)

    server.post = together
    assert torch.equal(server.ask(batch_size=2, concurrency=3)(batch(12)).logits, sums(batch(12).images))
    assert most[0] == 3
