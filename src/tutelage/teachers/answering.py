"""What stands behind a teacher's server: the teacher, and what it answered by key.

Letters: n samples, c channels, h height, w width, k classes.
"""

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tutelage.errors import BudgetError, ConfigError, InputError, ShapeError
from tutelage.models.network import Network
from tutelage.teachers.live import LiveTeacher
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.wire import request_key
from tutelage.types import Batch

__all__ = ["Answering", "KeyTakenError"]


class KeyTakenError(InputError):
    """The key of this request belongs to another one."""


class Answering:
    """Asks a teacher once for each key, from any thread.

    The id of an image is a hash of its pixels, since nobody says another: so a teacher with a cache or a budget of
    its own can stand behind a server, too.

    Args:
        teacher: A network is frozen and put into eval mode; any other teacher gets its images on the CPU.
        remember: Requests whose answers are kept; the oldest are forgotten first.

    Attributes:
        answered: Samples that the teacher answered; what was answered from memory does not count.

    Raises:
        ConfigError: if ``remember`` is not positive.

    Example:
        >>> from tutelage.labels import LabelSpace
        >>> from tutelage.teachers import CallableTeacher
        >>> labels = LabelSpace(("a", "b"))
        >>> teacher = CallableTeacher(lambda images: torch.zeros(len(images), 2), labels=labels, name="zero")
        >>> answering, images = Answering(teacher), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
        >>> _ = answering(images, "key"), answering(images, "key")
        >>> answering.answered
        2
    """

    def __init__(self, teacher: Network | Teacher, remember: int = 4096) -> None:
        if remember < 1:
            raise ConfigError(f"remember must be at least 1 request, got {remember}")
        self._image: tuple[int, ...] | None = None
        self._device = torch.device("cpu")
        if isinstance(teacher, Network):
            self._image, self._device = teacher.card.image, next(teacher.buffers()).device
            teacher = LiveTeacher(teacher)
        teacher.listen(())
        self.answered = 0
        self._teacher, self._remember = teacher, remember
        self._memory: OrderedDict[str, tuple[str, Future[Tensor]]] = OrderedDict()
        self._lock, self._asking = threading.Lock(), threading.Lock()

    def description(self) -> dict[str, Any]:
        """What the server says of the teacher."""
        return {
            "classes": list(self._teacher.labels.names),
            "fingerprint": self._teacher.fingerprint,
            "image": None if self._image is None else list(self._image),
            "gives": "logits",
        }

    def __call__(self, images: UInt8[Tensor, "n c h w"], key: str) -> Float[Tensor, "n k"]:
        """The logits: of this key if they are remembered, or else of the teacher.

        Raises:
            ShapeError: if the images have another shape than the teacher's.
            KeyTakenError: if the key came with other images before.
            BudgetError: if the teacher has a budget and may not answer all.
        """
        if self._image is not None and tuple(images.shape[1:]) != self._image:
            raise ShapeError(f"this teacher takes images of {self._image}, got {tuple(images.shape[1:])}")
        if not key:
            return self._ask(images)
        content = request_key(images.numpy().tobytes(), tuple(images.shape), "")
        with self._lock:
            new = key not in self._memory
            held, answer = self._memory.setdefault(key, (content, Future()))
            while len(self._memory) > self._remember:
                self._memory.popitem(last=False)
        if held != content:
            raise KeyTakenError(f"the Idempotency-Key {key} came with other images before")
        if new:
            try:
                answer.set_result(self._ask(images))
            finally:
                if not answer.done():  # the teacher failed: whoever waits is told so, and may ask again
                    answer.cancel()
                    with self._lock:
                        self._memory.pop(key, None)
        # A client that lost patience may ask again while its first request is under way.
        return answer.result()

    def _ask(self, images: Tensor) -> Tensor:
        ids, none = _ids(images), torch.zeros(len(images), dtype=torch.int64)
        batch = Batch(*(part.to(self._device) for part in (images, none, ids, none)))
        # Taps keep the features of one forward at a time.
        with self._asking:
            outputs = self._teacher(batch)
            known = len(images) if outputs.known is None else int(outputs.known.sum())
            self.answered += known
        if known < len(images):
            raise BudgetError(f"the teacher may answer {known} of these {len(images)} samples: its budget is spent")
        return outputs.logits.float().cpu()


def _ids(images: Tensor) -> Int64[Tensor, " n"]:
    """62 bits of a hash of the pixels: two of a million images share them with a probability of 1e-7."""
    digests = (hashlib.sha256(image.numpy().tobytes()).digest() for image in images)
    return torch.tensor([int.from_bytes(digest[:8], "big") >> 2 for digest in digests])
