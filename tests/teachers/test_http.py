"""A remote teacher is asked for what is wanted, answers in order, and is believed only after a look at its answers."""

import json
import sys
import threading
import time
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError, LabelSpaceError, ShapeError, TeacherError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.teachers import HttpTeacher, Teacher

sys.path.insert(0, str(Path(__file__).parent))

from scripted import TOLD, Scripted, batch, free_port, pixels, raw, right, status, sums


@pytest.fixture
def server():
    with Scripted() as server:
        yield server


@pytest.fixture
def unchecked():
    """Let wrong settings reach the checks of tutelage when the suite runs with jaxtyping's hook."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


# What is sent


def test_it_is_a_teacher_that_says_what_the_server_says(server):
    teacher = server.ask()
    assert isinstance(teacher, Teacher)
    assert (teacher.labels, teacher.fingerprint, teacher.shapes) == (
        LabelSpace(("a", "b", "c")),
        "remote",
        {"logits": (3,)},
    )
    teacher.compile()
    teacher.listen([])
    with pytest.raises(UnknownNameError, match="unknown tap 'embedding'"):
        teacher.listen(["embedding"])


@pytest.mark.parametrize("body", ["raw", "json"])
def test_a_batch_is_cut_into_requests_and_answered_in_order(server, body):
    teacher = server.ask(batch_size=4, body=body)
    answer = teacher(batch(10))
    assert torch.equal(answer.logits, sums(batch(10).images))
    assert answer.known is None
    assert sorted(len(pixels(request)) for request in server.requests) == [2, 4, 4]
    assert teacher.calls == 10


def test_the_order_of_the_batch_is_kept_when_the_first_request_is_answered_last(server):
    others = threading.Barrier(4, timeout=5)

    def late(request):
        others.wait()
        if torch.equal(pixels(request), batch(2).images):
            time.sleep(0.05)
        return right(request)

    server.post = late
    assert torch.equal(server.ask(batch_size=2, concurrency=4)(batch(8)).logits, sums(batch(8).images))


def test_a_raw_request_carries_the_pixels_and_nothing_else(server):
    server.ask(batch_size=10)(batch(10))
    (request,) = server.requests
    assert request["path"] == "/v1/answers"
    assert request["body"] == batch(10).images.numpy().tobytes()
    assert (request["headers"]["X-Shape"], request["headers"]["X-Dtype"]) == ("10,3,2,2", "uint8")
    told = {"Host", "Accept", "Accept-Encoding", "Connection", "User-Agent", "Content-Length", "Content-Type"}
    assert {name.title() for name in request["headers"]} - told == {"Idempotency-Key", "X-Shape", "X-Dtype"}


def test_a_json_request_carries_the_pixels_and_nothing_else(server):
    server.ask(body="json")(batch(10))
    (request,) = server.requests
    assert set(json.loads(request["body"])) == {"shape", "images"}
    assert torch.equal(pixels(request), batch(10).images)


def test_a_key_names_the_content_alone(server):
    for asked, settings in [
        (batch(4), {}),
        (batch(4)._replace(ids=torch.arange(4) + 50, views=torch.ones(4, dtype=torch.int64)), {"body": "json"}),
        (batch(4, first=4), {}),
    ]:
        server.ask(**settings)(asked)
    keys = [request["headers"]["Idempotency-Key"] for request in server.requests]
    assert keys[0] == keys[1] != keys[2]
    server.told = {**TOLD, "fingerprint": "another"}
    server.ask()(batch(4))
    assert server.requests[-1]["headers"]["Idempotency-Key"] not in keys


def test_a_retry_has_the_key_of_its_request(server):
    server.script = [status(503), status(500), right]
    server.ask()(batch())
    assert len({request["headers"]["Idempotency-Key"] for request in server.requests}) == 1
    assert len(server.requests) == 3


def test_headers_of_the_user_are_sent_and_a_password_in_the_url_is_not_told(server):
    server.ask(headers={"Authorization": "Bearer secret"})(batch())
    assert server.requests[0]["headers"]["Authorization"] == "Bearer secret"
    with pytest.raises(TeacherError) as caught:
        HttpTeacher(f"http://me:hidden@127.0.0.1:{free_port()}")
    assert "hidden" not in str(caught.value)


# What comes back


def test_json_and_raw_replies_give_equal_logits(server):
    images = batch().images
    logits = sums(images) / 3
    server.script = [
        lambda _: (200, {"Content-Type": "application/json"}, json.dumps({"answers": logits.tolist()}).encode())
    ]
    spoken = server.ask(body="json")(batch()).logits
    server.script = [lambda _: raw(logits.numpy())]
    assert torch.equal(server.ask()(batch()).logits, spoken)
    assert torch.equal(spoken, logits)


def test_half_precision_is_read(server):
    server.script = [lambda request: raw(sums(pixels(request)).numpy() / 4096, "float16")]
    answer = server.ask()(batch()).logits
    assert answer.dtype == torch.float32
    assert torch.equal(answer, (sums(batch().images) / 4096).half().float())


def test_probabilities_become_logits(server):
    server.told = {**TOLD, "gives": "probabilities"}
    shares = sums(batch().images).mul(0.001).softmax(1)
    server.script = [lambda _: raw(shares.numpy())]
    torch.testing.assert_close(server.ask()(batch()).logits.softmax(1), shares)


@pytest.mark.parametrize(
    ("reply", "gives", "message"),
    [
        (raw(np.zeros((10, 3)), "float64"), "logits", "X-Dtype must be float16 or float32, got 'float64'"),
        (raw(np.zeros((10, 2)), "float32"), "logits", r"shape \(10, 3\), one row a sample.*got \(10, 2\)"),
        (raw(np.zeros((9, 3)), "float32"), "logits", r"got \(9, 3\)"),
        (raw(np.full((10, 3), np.nan), "float32"), "logits", "NaN or infinity for 10 of 10"),
        (raw(np.full((10, 3), 0.5), "float32"), "probabilities", "sum to 1 within 0.001, got a sum of 1.5"),
        (raw(np.full((10, 3), -1.0), "float32"), "probabilities", "does it return logits"),
        ((200, {"Content-Type": "application/octet-stream"}, b"12345"), "logits", "cannot be read"),
        ((200, {**raw(np.zeros((10, 3)), "float32")[1]}, b"short"), "logits", "5 bytes came for X-Shape 10,3"),
        ((200, {**raw(np.zeros((10, 3)), "float32")[1], "X-Shape": "ten"}, b""), "logits", "such as 64,10, got 'ten'"),
        ((200, {}, b"<html>"), "logits", r"cannot be read \(JSONDecodeError"),
        ((200, {}, b'{"logits": []}'), "logits", r"cannot be read \(KeyError"),
        ((200, {}, b"[]"), "logits", r"cannot be read \(TypeError"),
        ((200, {}, b'{"answers": {"a": 1}}'), "logits", "got a dict"),
        ((200, {}, b'{"answers": [[NaN, 0, 0]]}'), "logits", r"got \(1, 3\)"),
        (
            (200, {"X-Fingerprint": "new"}, b""),
            "logits",
            "another one now: new answered, and the run began with remote",
        ),
    ],
)
def test_what_is_no_answer_is_refused_at_once(server, reply, gives, message):
    server.told, server.script = {**TOLD, "gives": gives}, [lambda _: reply]
    teacher = server.ask()
    with pytest.raises(TeacherError, match=message):
        teacher(batch())
    assert len(server.requests) == 1
    assert teacher.calls == 0


def test_what_was_answered_before_a_failure_is_not_asked_again(server):
    server.script = [right, right, status(503), status(503), right]
    teacher = server.ask(batch_size=3, concurrency=1, retries=1)
    with pytest.raises(TeacherError, match="nothing that was answered is lost: 6 of the 10 samples"):
        teacher(batch(10))
    assert teacher.calls == 6
    assert torch.equal(teacher(batch(10)).logits, sums(batch(10).images))
    assert teacher.calls == 10
    sent = [request["headers"]["Idempotency-Key"] for request in server.requests]
    assert [sent.count(key) for key in dict.fromkeys(sent)] == [1, 1, 3, 1]


def test_after_a_failure_nothing_more_is_sent(server):
    server.script = [right, status(400)]
    with pytest.raises(TeacherError, match="refuses /v1/answers"):
        server.ask(batch_size=1, concurrency=1)(batch(10))
    assert len(server.requests) == 2


# The start


@pytest.mark.parametrize("settings", [{}, {"timeout": 30.0, "retries": 9}])
def test_a_server_that_is_down_is_told_in_the_first_second(settings):
    url = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(TeacherError, match=rf"no teacher answers at {url} \(ConnectError: .*start the server"):
        HttpTeacher(url, **settings)
    assert time.monotonic() - started < 1.0


def test_a_server_that_is_busy_at_the_start_is_waited_for(server):
    replies = [(503, {}, b""), (429, {"Retry-After": "0"}, b""), server.describe()]
    server.describe = lambda: replies.pop(0)
    assert server.ask().fingerprint == "remote"


@pytest.mark.parametrize(
    "told",
    [
        [],
        {},
        {**TOLD, "classes": ["a"]},
        {**TOLD, "classes": ["a", "a"]},
        {**TOLD, "gives": "odds"},
        {**TOLD, "image": [3, 2]},
        {**TOLD, "image": "large"},
        {name: value for name, value in TOLD.items() if name != "fingerprint"},
    ],
)
def test_what_describes_no_teacher_is_refused(server, told):
    server.told = told
    with pytest.raises(TeacherError, match=r"/v1/teacher says describes no teacher \("):
        server.ask()


def test_other_classes_than_expected_are_refused(server):
    assert server.ask(labels=LabelSpace(("a", "b", "c"))).labels == LabelSpace(("a", "b", "c"))
    with pytest.raises(LabelSpaceError, match=r"of 3 classes, .* has 3 \('b' is 'a' there\)"):
        server.ask(labels=LabelSpace(("b", "a", "c")))
    with pytest.raises(LabelSpaceError, match=r"of 2 classes, .* has 3 \(the rest is equal\)"):
        server.ask(labels=LabelSpace(("a", "b")))


def test_images_of_another_shape_and_mixtures_are_refused_before_anything_is_sent(server):
    teacher, asked = server.ask(), batch()
    with pytest.raises(ShapeError, match=r"takes images of \(3, 2, 2\), got \(12, 1, 1\)"):
        teacher(asked._replace(images=asked.images.view(10, 12, 1, 1)))
    with pytest.raises(ConfigError, match="takes uint8 pixels, got"):
        teacher(asked._replace(images=asked.images.float()))
    assert not server.requests


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"body": "xml"}, "'raw' or 'json', got 'xml'"),
        ({"retries": -1}, "retries must be at least 0, got -1"),
        ({"backoff": float("nan")}, "backoff must be at least 0, got nan"),
        ({"concurrency": 0}, "concurrency must be at least 1, got 0"),
        ({"timeout": 0.0}, "timeout must be positive, got 0"),
        ({"rate": -2.0}, "rate must be positive, got -2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        HttpTeacher("http://127.0.0.1:1", **settings)


@pytest.mark.parametrize("url", ["teacher", "ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="must be like http://host:8000"):
        HttpTeacher(url)
