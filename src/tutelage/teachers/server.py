"""A reference server: any network or teacher, asked over HTTP.

The protocol is in :mod:`tutelage.teachers.wire`; the server describes it at ``/openapi.json``. It knows no users and
no encryption: to leave this machine, put it behind a server that does.
"""

import json
import logging
import random
import socket
import threading
from concurrent.futures import CancelledError
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from torch import Tensor

from tutelage.errors import BudgetError, ConfigError, InputError, TutelageError
from tutelage.models.network import Network
from tutelage.teachers.answering import Answering, KeyTakenError
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.wire import ANSWERS, DESCRIPTION, DOCUMENT, JSON, RAW, openapi, read_images

__all__ = ["TeacherServer", "serve"]

_LARGEST = 2**28
"""Bytes of a request: 87,000 images of 3 × 32 × 32, or 1,700 of 3 × 224 × 224."""

_log = logging.getLogger(__name__)


def serve(
    teacher: Network | Teacher,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    remember: int = 4096,
    fail_share: float = 0.0,
    seed: int = 0,
) -> "TeacherServer":
    """Serve a network or a teacher, from threads of its own.

    Args:
        teacher: A network is frozen and put into eval mode, as in :class:`~tutelage.teachers.LiveTeacher`; any other
            teacher gets its images on the CPU, and as the id of an image a hash of its pixels.
        host: Address to listen at.
        port: 0 for any free one.
        remember: Requests whose answers are kept by their Idempotency-Key; the oldest are forgotten first.
        fail_share: For tests: this share of requests fails, before or after the teacher was asked.
        seed: For tests: which ones.

    Raises:
        ConfigError: if a setting is out of range, or the address is taken.

    Example:
        >>> from tutelage.models import ModelCard, build_network
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> with serve(build_network(card)) as server:
        ...     server.url.startswith("http://127.0.0.1:"), server.answered
        (True, 0)
    """
    if not 0.0 <= fail_share <= 1.0:
        raise ConfigError(f"fail_share must be from 0 to 1, got {fail_share}")
    answering = Answering(teacher, remember)
    try:
        server = _Server((host, port), answering, _Faults(fail_share, seed))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen at {host}:{port} ({error}): choose another port") from error
    return TeacherServer(server)


class _Faults:
    """Which requests fail on purpose, and how: nearly always none.

    429 and 503 come before the teacher is asked; ``lost`` (a 500) and ``dropped`` (no reply) after that.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._random, self._lock = share, random.Random(seed), threading.Lock()

    def next(self) -> str:
        with self._lock:
            fails = self._random.random() < self._share
            return self._random.choice(("429", "503", "lost", "dropped")) if fails else ""


class _Server(ThreadingHTTPServer):
    """Knows its connections, so that it can break them."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answering: Answering, faults: _Faults) -> None:
        self.answering, self.faults = answering, faults
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def hang_up(self) -> None:
        """Break all connections, and give what is under way some seconds to see it."""
        with self._changed:
            for request in self._open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError as error:
                    _log.debug("the client was faster: %s", error)
            self._changed.wait_for(lambda: not self._open, timeout=5.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a connection broke", exc_info=True)


class TeacherServer:
    """What :func:`serve` started; a ``with`` block closes it.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, server: _Server) -> None:
        host, port = server.server_address[:2]
        self.url = f"http://{host!s}:{port}"
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="teacher", daemon=True)
        self._thread.start()

    def __enter__(self) -> "TeacherServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def answered(self) -> int:
        """Samples that the teacher answered; what was answered from memory does not count."""
        return self._server.answering.answered

    def wait(self) -> None:
        """Serve until :meth:`close`, or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stop, and break the connections; closing twice does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.hang_up()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Otherwise a reply of two packets waits 40 ms for the delayed acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The description and the document."""
        pages = {DESCRIPTION: self.server.answering.description, DOCUMENT: openapi}
        path, fault = self.path.partition("?")[0], self.server.faults.next()
        if fault:
            self._fail(fault)
        elif path in pages:
            self._say(200, pages[path]())
        else:
            self._say(404, {"error": f"nothing to get at {path}; all pages are in {DOCUMENT}"})

    def do_POST(self) -> None:
        """The answers."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > _LARGEST:
            self.close_connection = True  # the body was not read
            self._say(413, {"error": f"Content-Length must be at most {_LARGEST}, got {length[:20]!r}"})
            return
        body, fault = self.rfile.read(int(length)), self.server.faults.next()
        path = self.path.partition("?")[0]
        if path != ANSWERS:
            self._say(404, {"error": f"nothing to post to at {path}; all pages are in {DOCUMENT}"})
        elif fault in ("429", "503"):
            self._fail(fault)
        else:
            status, answer = self._answer(body)
            if fault:
                self._fail(fault)
            elif isinstance(answer, Tensor) and self.headers.get("Accept", "").startswith(RAW):
                shape = ",".join(map(str, answer.shape))
                raw = answer.numpy().astype("<f4").tobytes()
                self._send(status, raw, {"Content-Type": RAW, "X-Shape": shape, "X-Dtype": "float32"})
            else:
                self._say(status, {"answers": answer.tolist()} if isinstance(answer, Tensor) else answer)

    def _answer(self, body: bytes) -> tuple[int, Tensor | dict[str, str]]:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip()
        shape, dtype = self.headers.get("X-Shape", ""), self.headers.get("X-Dtype", "")
        try:
            images = read_images(body, kind, shape=shape, dtype=dtype)
            return 200, self.server.answering(images, self.headers.get("Idempotency-Key", ""))
        except (TutelageError, RuntimeError, CancelledError) as error:
            codes = ((BudgetError, 402), (KeyTakenError, 422), (InputError, 400))
            status = next((code for kinds, code in codes if isinstance(error, kinds)), 500)
            return status, {"error": f"{type(error).__name__}: {error}"}

    def _fail(self, fault: str) -> None:
        if fault == "dropped":
            self.close_connection = True
        else:
            status = 500 if fault == "lost" else int(fault)
            self._say(status, {"error": "on purpose"}, {"Retry-After": "0"} if status == 429 else {})

    def _say(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": JSON, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fingerprint = {"X-Fingerprint": self.server.answering.description()["fingerprint"]}
        self.send_response(status)
        for name, value in (headers | fingerprint | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name in the base class)
        """Into the log, not onto the terminal."""
        _log.debug(format, *args)
