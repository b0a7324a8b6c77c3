"""A teacher behind a network: asked over HTTP with retries, and never asked twice for what it has answered.

The protocol is in :mod:`tutelage.teachers.wire`. Letters: n samples, c channels, h height, w width,
k classes.
"""

import base64
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tutelage.errors import ConfigError, LabelSpaceError, ShapeError, TeacherError, TutelageError
from tutelage.labels import LabelSpace
from tutelage.teachers.callable import Gives, LogitsTeacher, as_logits, check_pixels
from tutelage.teachers.protocol import CutOffError
from tutelage.teachers.sending import Patience, Sender, StoppedError
from tutelage.teachers.wire import ANSWERS, DESCRIPTION, JSON, RAW, read_raw, request_key
from tutelage.types import Batch, Outputs

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpTeacher"]


class HttpTeacher(LogitsTeacher):
    """Asks a server that speaks the protocol of :func:`tutelage.teachers.serve`.

    A batch is cut into requests of ``batch_size`` images. Each has a key made of its content, so that the server
    answers a request that is sent again from memory and does not bill it again. What was answered before a request
    failed for good is kept in memory: asking the batch again sends only the rest. A cache around this teacher gets
    whole batches: where the process may end, too, a ``batch_size`` of the whole batch makes them the same.

    Args:
        url: Of the server; what comes before ``/v1/teacher``.
        labels: The classes that are expected; ``None`` takes those the server names.
        batch_size: Images a request.
        timeout: Seconds to connect, and to wait between two pieces of a reply.
        retries: How often a request is sent again after 408, 429, 5xx, a timeout or a broken connection.
        backoff: The wait before retry i is drawn from 0 to ``backoff`` · 2^i seconds ("full jitter", which spreads
            clients that failed together); if the server says Retry-After, it is at least that.
        rate: Most requests a second, retries included; ``None`` for no limit.
        concurrency: Requests under way at once.
        body: How tensors travel; raw is four times smaller for logits and a quarter smaller for images.
        headers: Sent with each request, such as ``{"Authorization": "Bearer …"}``.
        seed: Of the jitter, which has a generator of its own.

    Attributes:
        calls: Samples that were answered.

    Raises:
        ConfigError: if a setting is out of range.
        TeacherError: if the server is down (after a second), or describes no teacher.
        LabelSpaceError: if it has other classes than were expected.

    Example:
        >>> from tutelage.models import ModelCard, build_network
        >>> from tutelage.teachers import serve
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> ids = torch.zeros(2, dtype=torch.int64)
        >>> with serve(build_network(card)) as server:
        ...     teacher = HttpTeacher(server.url)
        ...     answer = teacher(Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ids, ids, ids))
        ...     teacher.close()
        >>> teacher.labels.names, tuple(answer.logits.shape)
        (('a', 'b'), (2, 2))
    """

    def __init__(
        self,
        url: str,
        *,
        labels: LabelSpace | None = None,
        batch_size: int = 64,
        timeout: float = 30.0,
        retries: int = 5,
        backoff: float = 0.5,
        rate: float | None = None,
        concurrency: int = 4,
        body: Literal["raw", "json"] = "raw",
        headers: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        if body not in ("raw", "json"):
            raise ConfigError(f"body must be 'raw' or 'json', got {body!r}")
        patience = Patience(
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            rate=rate,
            concurrency=concurrency,
            headers=headers or {},
            seed=seed,
        )
        self._batch_size, self._concurrency, self._raw = batch_size, concurrency, body == "raw"
        self._kept: dict[str, Tensor] = {}
        self._lock = threading.Lock()
        self._sender = Sender(url, patience)
        try:
            named, self.fingerprint, self._image, self._gives = self._describe()
            super().__init__(named)
            self._check_labels(labels)
        except TutelageError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections; closing twice does nothing."""
        self._sender.close()

    def __call__(self, batch: Batch) -> Outputs:
        """Answer every sample of the batch.

        Raises:
            ConfigError: if the images are mixtures.
            ShapeError: if the images have another shape than the server takes; nothing is sent.
            CutOffError: if the server refuses, fails after all retries, or its answers are no answers.
        """
        check_pixels(batch.images)
        if self._image and tuple(batch.images.shape[1:]) != self._image:
            raise ShapeError(
                f"the teacher at {self._sender.url} takes images of {self._image}, got {tuple(batch.images.shape[1:])}"
            )
        parts = torch.split(batch.images.cpu().contiguous(), self._batch_size)
        keys = [request_key(part.numpy().tobytes(), tuple(part.shape), self.fingerprint) for part in parts]
        asked = dict(zip(keys, parts, strict=True))
        failure = self._ask({key: part for key, part in asked.items() if key not in self._kept})
        if failure is not None:
            answer = self._so_far(keys, parts, batch)
            answered = 0 if answer.known is None else int(answer.known.sum())
            raise CutOffError(
                f"{failure}; nothing that was answered is lost: {answered} of the {len(batch.images)} "
                f"samples of this batch were answered, they are kept, and asking again sends only the others",
                answer,
            ) from failure
        logits = torch.cat([self._kept[key] for key in keys])
        for key in asked:
            del self._kept[key]
        return Outputs(logits.to(batch.images.device), {})

    def _so_far(self, keys: Sequence[str], parts: Sequence[Tensor], batch: Batch) -> Outputs:
        """What was answered of a batch, zero where nothing was."""
        known = [torch.full((len(part),), key in self._kept) for key, part in zip(keys, parts, strict=True)]
        silent = torch.zeros(1, len(self.labels))
        rows = [self._kept.get(key, silent.expand(len(part), -1)) for key, part in zip(keys, parts, strict=True)]
        device = batch.images.device
        return Outputs(torch.cat(rows).to(device), {}, torch.cat(known).to(device))

    def _ask(self, parts: Mapping[str, Tensor]) -> TeacherError | None:
        """Keep the answers of these parts; returns why some have none."""
        stop, futures = threading.Event(), list[Future[None]]()
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                futures += [pool.submit(self._one, key, part, stop) for key, part in parts.items()]
                wait(futures)
            finally:
                stop.set()  # after Ctrl-C, what is under way ends and nothing more is sent
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, TeacherError):
                raise error
        failures = [error for error in errors if isinstance(error, TeacherError)]
        # Those that were only stopped come behind the one that failed.
        return min(failures, key=lambda error: isinstance(error, StoppedError), default=None)

    def _one(self, key: str, images: UInt8[Tensor, "n c h w"], stop: threading.Event) -> None:
        """Send one request and keep its answer; if it fails, nothing more is sent."""
        headers = {"Idempotency-Key": key, "Accept": RAW if self._raw else JSON}
        content = images.numpy().tobytes()
        if self._raw:
            headers |= {"Content-Type": RAW, "X-Shape": ",".join(map(str, images.shape)), "X-Dtype": "uint8"}
        else:
            headers |= {"Content-Type": JSON}
            coded = base64.b64encode(content).decode()
            content = json.dumps({"shape": list(images.shape), "images": coded}).encode()
        try:
            logits = self._read(self._sender.post(ANSWERS, content, headers, stop), len(images))
            with self._lock:
                self._kept[key] = logits
                self.calls += len(images)
        finally:
            if key not in self._kept:
                stop.set()

    def _read(self, reply: "httpx.Response", n: int) -> Float[Tensor, "n k"]:
        """The logits in a reply."""
        who = f"the teacher at {self._sender.url}"
        came = reply.headers.get("X-Fingerprint", self.fingerprint)
        if came != self.fingerprint:
            raise TeacherError(f"{who} is another one now: {came} answered, and the run began with {self.fingerprint}")
        kind = reply.headers.get("Content-Type", "").partition(";")[0].strip()
        try:
            if kind == RAW:
                shape, dtype = (reply.headers.get(name, "") for name in ("X-Shape", "X-Dtype"))
                answer: Any = read_raw(reply.content, shape, dtype, allowed=["float16", "float32"])
            else:
                answer = json.loads(reply.content)["answers"]
        except (ShapeError, ValueError, KeyError, TypeError) as error:
            raise TeacherError(f"{who} sent a reply that cannot be read ({type(error).__name__}: {error})") from error
        return as_logits(answer, n=n, k=len(self.labels), gives=self._gives, who=who)

    def _describe(self) -> tuple[LabelSpace, str, tuple[int, ...] | None, Gives]:
        """What the server says of its teacher."""
        reply = self._sender.get(DESCRIPTION)
        try:
            told = json.loads(reply.content)
            labels, image = LabelSpace(tuple(map(str, told["classes"]))), told["image"]
            shape = None if image is None else tuple(map(int, image))
            gives, fingerprint = told["gives"], str(told["fingerprint"])
            if gives not in ("logits", "probabilities") or (shape is not None and len(shape) != 3):
                raise ValueError(f"gives is {gives!r} and image {image!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise TeacherError(
                f"what {self._sender.url}{DESCRIPTION} says describes no teacher ({type(error).__name__}: {error})"
            ) from error
        return labels, fingerprint, shape, gives

    def _check_labels(self, wanted: LabelSpace | None) -> None:
        if wanted is None or wanted == self.labels:
            return
        pairs = zip(wanted.names, self.labels.names, strict=False)
        odd = next((f"{ours!r} is {theirs!r} there" for ours, theirs in pairs if ours != theirs), "the rest is equal")
        raise LabelSpaceError(
            f"wanted a teacher of {len(wanted)} classes, and the one at {self._sender.url} has {len(self.labels)} "
            f"({odd}): give its own classes, in its order"
        )
