"""Requests over HTTP that wait, try again and keep to a rate."""

import random
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tutelage.errors import ConfigError, TeacherError

if TYPE_CHECKING:
    import httpx

__all__ = ["Patience", "Sender", "StoppedError"]

_CONNECT = 1.0
"""Seconds to connect when the teacher is built: a server that is down is told at once, whatever the timeout."""

_LONGEST_WAIT = 600.0
"""Seconds; no wait is drawn beyond it, and a server that asks for more is taken for one that refuses."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How a server is asked.

    Args:
        timeout: Seconds to connect, and to wait between two pieces of a reply.
        retries: How often a request is sent again after 408, 429, 5xx, a timeout or a broken connection.
        backoff: The wait before retry i is drawn from 0 to ``backoff`` · 2^i seconds ("full jitter", which spreads
            clients that failed together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/),
            and at most 600; if the server says Retry-After, it is at least that.
        rate: Most requests a second, retries included; ``None`` for no limit.
        concurrency: Requests under way at once.
        headers: Sent with each request.
        seed: Of the jitter.

    Raises:
        ConfigError: if one is out of range.
    """

    timeout: float = 30.0
    retries: int = 5
    backoff: float = 0.5
    rate: float | None = None
    concurrency: int = 4
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("retries", 0), ("backoff", 0), ("concurrency", 1)):
            if not least <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name, value in (("timeout", self.timeout), ("rate", self.rate)):
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} must be positive, got {value}")


class StoppedError(TeacherError):
    """This request was given up because another one failed."""


class Sender:
    """Sends to one server, from any thread.

    Args:
        url: Of the server, without the paths of the protocol.
        patience: How it is asked.

    Attributes:
        url: Without what a user may have to keep secret.

    Raises:
        ConfigError: if the address is none.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        import httpx

        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"the teacher's url must be like http://host:8000, got {url!r}: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(f"the teacher's url must be like http://host:8000, got {url!r}")
        self.url = str(address.copy_with(username=None, password=None)).rstrip("/")
        self._patience = patience
        self._random, self._lock, self._next = random.Random(patience.seed), threading.Lock(), 0.0
        self._client = httpx.Client(
            base_url=address,
            headers=dict(patience.headers),
            timeout=patience.timeout,
            limits=httpx.Limits(max_connections=patience.concurrency),
            # A proxy from the environment cannot reach this machine's own addresses.
            trust_env=address.host not in _LOOPBACK,
        )
        # Also closes the connections of a sender that is forgotten.
        self.close = weakref.finalize(self, self._client.close)

    def get(self, path: str) -> "httpx.Response":
        """Ask for a page; a server that is not there is not waited for.

        Raises:
            TeacherError: if it is down, or fails after all retries.
        """
        import httpx

        timeout = httpx.Timeout(self._patience.timeout, connect=min(_CONNECT, self._patience.timeout))
        return self._try(self._client.build_request("GET", path, timeout=timeout), threading.Event(), first=True)

    def post(self, path: str, content: bytes, headers: Mapping[str, str], stop: threading.Event) -> "httpx.Response":
        """Send a body; waiting ends when ``stop`` is set.

        Raises:
            TeacherError: if the server refuses, or fails after all retries, or this was stopped.
        """
        return self._try(self._client.build_request("POST", path, content=content, headers=headers), stop)

    def _try(self, request: "httpx.Request", stop: threading.Event, *, first: bool = False) -> "httpx.Response":
        import httpx

        cause, attempts = "", 0
        for attempt in range(self._patience.retries + 1):
            if stop.is_set() or stop.wait(self._turn()):
                raise StoppedError(f"the teacher at {self.url} is no longer asked, since another request failed")
            attempts, asked = attempt + 1, 0.0
            try:
                reply = self._client.send(request)
            except httpx.RequestError as error:
                cause = f"{type(error).__name__}: {error}"
                if first and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise TeacherError(
                        f"no teacher answers at {self.url} ({cause}): start the server, or correct the url"
                    ) from error
            else:
                if reply.is_success:
                    return reply
                cause = f"{reply.status_code} {reply.reason_phrase}: {reply.text[:200].strip()}"
                asked = _retry_after(reply.headers.get("Retry-After", ""))
                if reply.status_code not in (408, 429) and reply.status_code < 500:
                    raise TeacherError(f"the teacher at {self.url} refuses {request.url.path} ({cause})")
            if asked > _LONGEST_WAIT:
                raise TeacherError(f"the teacher at {self.url} wants to be asked again in {asked:.0f} s only ({cause})")
            if attempt < self._patience.retries:
                stop.wait(max(asked, self._jitter(attempt)))
        raise TeacherError(f"the teacher at {self.url} failed {attempts} times, the last time with {cause}")

    def _jitter(self, attempt: int) -> float:
        with self._lock:
            # 2^30 seconds are beyond the longest wait, and 2^1024 is beyond a float.
            return self._random.uniform(0.0, min(self._patience.backoff * 2.0 ** min(attempt, 30), _LONGEST_WAIT))

    def _turn(self) -> float:
        """Seconds until the rate allows a request; the place in the queue is taken."""
        if self._patience.rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 1 / self._patience.rate
        return turn - now


def _retry_after(text: str) -> float:
    """Seconds of a Retry-After header, which may also hold a date; 0 for what is neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
