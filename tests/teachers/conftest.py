"""A teacher that costs nothing and counts, processes that may be killed, and stores to put its answers in."""

import os
import time

import pytest
import torch

from tutelage.labels import LabelSpace
from tutelage.teachers import AnswerStore, Content, Subject
from tutelage.types import Batch, Outputs


class CountingTeacher:
    """Answers a function of (id, view), and writes down, outside of any process, whom it was sent."""

    def __init__(self, log, *, classes=5, wait=0.0, taps=False):
        self.labels, self.fingerprint, self.calls = LabelSpace.numbered(classes), "counting", 0
        self.shapes = {"logits": (classes,), **({"stage": (2, 3)} if taps else {})}
        self._log, self._wait, self._roles = log, wait, [role for role in self.shapes if role != "logits"]
        log.touch()

    def listen(self, roles):
        self._roles = list(roles)

    def compile(self):
        pass

    def __call__(self, batch):
        lines = "".join(f"{i} {v}\n" for i, v in zip(batch.ids.tolist(), batch.views.tolist(), strict=True))
        handle = os.open(self._log, os.O_WRONLY | os.O_APPEND)
        os.write(handle, lines.encode())
        os.close(handle)
        time.sleep(self._wait)
        self.calls += len(batch.ids)
        base = batch.ids[:, None] * 0.37 + batch.views[:, None] * 1.13
        taps = {role: (base * torch.arange(6)).cos().view(-1, 2, 3) for role in self._roles}
        return Outputs((base * torch.arange(1, len(self.labels) + 1)).sin() * 7, taps)

    @property
    def sent(self):
        return [tuple(map(int, line.split())) for line in self._log.read_text().splitlines()]


@pytest.fixture
def counting(tmp_path):
    return lambda **settings: CountingTeacher(tmp_path / "sent.log", **settings)


@pytest.fixture
def make_store(tmp_path):
    def make(*, classes=5, taps=(), top=None, folder="caches", dense=False, **names):
        content = Content(num_classes=classes, taps=taps, top=top)
        subject = Subject(**{"teacher": "counting", "views": "v", "data": "d", **names}, content=content)
        return AnswerStore(tmp_path / folder, subject, dense=dense)

    return make


def _batch(ids, views=None):
    ids = torch.as_tensor(ids)
    views = torch.zeros_like(ids) if views is None else torch.as_tensor(views)
    return Batch(torch.zeros(len(ids), 1, 2, 2, dtype=torch.uint8), ids, ids, views)


@pytest.fixture
def batch():
    """Makes the batch of some ids and views."""
    return _batch


@pytest.fixture
def forked():
    """Runs a function in a process of its own and gives its number: 0 is what it exits with when all went well."""

    def fork(work):
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)

    return fork
