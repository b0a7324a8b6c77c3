"""A server on this machine that replies what a test tells it to, right or wrong."""

import base64
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch

from tutelage.teachers import HttpTeacher
from tutelage.types import Batch

TOLD = {"classes": ["a", "b", "c"], "fingerprint": "remote", "image": [3, 2, 2], "gives": "logits"}


class Scripted(ThreadingHTTPServer):
    """Describes itself by ``told``, and replies to posts by ``script``, functions of the request; the last one stays.

    ``requests`` are those that were posted; a ``with`` block closes the server and its teachers.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told, self.script, self.requests = TOLD, [right], []
        self._made, self._lock = [], threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __exit__(self, *_):
        for teacher in self._made:
            teacher.close()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def ask(self, **settings):
        """A teacher that asks this server."""
        self._made.append(HttpTeacher(f"http://127.0.0.1:{self.server_port}", **{"backoff": 0.001, **settings}))
        return self._made[-1]

    def describe(self):
        return 200, {}, json.dumps(self.told).encode()

    def post(self, request):
        with self._lock:
            self.requests.append(request)
            reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return reply(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self._reply(*self.server.describe())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.title(): value for name, value in self.headers.items()}
        self._reply(*self.server.post({"path": self.path, "headers": headers, "body": body, "time": time.monotonic()}))

    def _reply(self, code, headers, body):
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # a client that lost patience
            self.close_connection = True

    def log_message(self, *args):
        pass


def batch(n=10, first=0):
    images = torch.arange(first * 12, (first + n) * 12).mul(7).remainder(251).view(n, 3, 2, 2).to(torch.uint8)
    return Batch(images, *3 * [torch.arange(first, first + n)])


def sums(images):
    """Logits that tell the images apart."""
    return images.float().sum((2, 3))


def pixels(request):
    """The images in a request."""
    if request["headers"]["Content-Type"] == "application/json":
        fields = json.loads(request["body"])
        body, shape = base64.b64decode(fields["images"]), fields["shape"]
    else:
        body, shape = request["body"], [int(size) for size in request["headers"]["X-Shape"].split(",")]
    return torch.from_numpy(np.frombuffer(bytearray(body), np.uint8).reshape(shape))


def raw(values, dtype="float32"):
    """A good reply that holds these numbers."""
    headers = {"Content-Type": "application/octet-stream", "X-Dtype": dtype}
    return 200, {**headers, "X-Shape": ",".join(map(str, np.shape(values)))}, np.asarray(values, dtype).tobytes()


def right(request):
    """The right answer to a request."""
    return raw(sums(pixels(request)).numpy())


def status(code, after=None):
    """Replies with this status, and perhaps with Retry-After."""
    return lambda _: (code, {} if after is None else {"Retry-After": after}, b"said so")


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
