"""Teachers that cost: functions that a run asks by name, in any process. Each image they are sent is written down.

The bill is the file that ``$BILL`` names; a line is the hash of an image. Pixels, not ids: what counts is what left
the house.
"""

import hashlib
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NAME, FATAL = "python:billed:answer", "python:billed:fatal"


def answer(images: Tensor) -> Tensor:
    """Logits: ten fixed sums of the pixels."""
    lines = "".join(f"{line}\n" for line in hashes(images))
    handle = os.open(os.environ["BILL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, lines.encode())
    os.close(handle)
    time.sleep(0.002)  # long enough for some deaths to come in the middle
    return logits(images)


def fatal(images: Tensor) -> Tensor:
    """The same, but once, when ``$FATAL`` images are on the bill, the process dies before it has the answer."""
    said, path = answer(images), Path(os.environ["BILL"])
    if bill(path).total() == int(os.environ["FATAL"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return said


def nowhere(images: Tensor) -> Tensor:
    """Logits that are no numbers."""
    return torch.full((len(images), 10), float("nan"))


def narrow(images: Tensor) -> Tensor:
    """One class too few."""
    return torch.zeros(len(images), 9)


def unlikely(images: Tensor) -> Tensor:
    """Probabilities that sum to two."""
    return torch.full((len(images), 10), 0.2)


def logits(images: Tensor) -> Tensor:
    """What the teacher says, without a bill."""
    pixels = images.flatten(1).float()
    return pixels @ torch.arange(10 * pixels.shape[1]).view(-1, 10).sin() / 8


def hashes(images: Tensor) -> list[str]:
    """One for each image."""
    return [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()[:16] for image in images]


def bill(path: Path) -> "Counter[str]":
    """How often each image was sent."""
    return Counter(path.read_text().split() if path.exists() else [])


def shown(data: Any, ids: Tensor, views: Tensor) -> "Counter[str]":
    """The images behind rows of (id, view)."""
    return Counter(hashes(data.views(seed=0).render(data.train.images, ids, views)))
