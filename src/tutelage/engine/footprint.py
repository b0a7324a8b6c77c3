"""How much memory training takes at its peak.

On CUDA that is what torch had allocated at most. On a CPU nobody counts what torch allocates, but Linux keeps the
highest resident set of a process (``VmHWM``) and sets it back to the present one when asked
(``/proc/self/clear_refs``): so the peak is exact and costs the loop nothing. From it is taken what the process held
when training began: the interpreter, the libraries, the images, the weights of student and teacher. Freed pages are
given back to the system before, so that a run does not hide in what an earlier run of the process left behind. Pages
of mapped files are not counted, since the system takes them back when it needs them: of a cache of answers they would
be all that was ever read.

It is the first rank's, without processes that read images.

What torch loads once is counted with the first run of a process: labels alone on digits take 3.2 MiB there, 1.5 later.
"""

import ctypes
import gc
from pathlib import Path
from typing import Any

import torch

__all__ = ["Footprint"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Footprint:
    """The most memory since it was made or restarted.

    Args:
        device: Where the networks are.

    Attributes:
        kind: ``"allocated"`` by torch on CUDA, ``"resident"`` for what was added to the process on a CPU; empty where
            the platform does not tell.

    Example:
        >>> footprint = Footprint(torch.device("cpu"))
        >>> footprint.kind in ("resident", "")  # only Linux tells
        True
        >>> tensor = torch.ones(2**22)
        >>> footprint.peak() >= 2**24 or not footprint.kind
        True
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.kind = {"cuda": "allocated", "cpu": "resident"}.get(device.type, "")
        self._before = 0
        gc.collect()
        self.restart()
        self._before = self.peak() if self.kind == "resident" else 0

    def restart(self) -> None:
        """Forget what was: from now on."""
        if self.kind == "allocated":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self.kind == "resident":
            try:
                ctypes.CDLL(None).malloc_trim(0)
                _RESET.write_text("5")
                _highest()
            except (AttributeError, OSError, KeyError):  # another C library, or another system
                self.kind = ""

    def peak(self) -> int:
        """Bytes; 0 where the platform does not tell."""
        if self.kind == "allocated":
            return torch.cuda.max_memory_allocated(self._device)
        if self.kind == "resident":
            return max(_highest() - self._before, 0)
        return 0

    def facts(self, peak: int) -> dict[str, Any] | None:
        """What ``result.json`` says; None where the platform does not tell.

        Args:
            peak: The highest of the run.
        """
        return {"bytes": peak, "kind": self.kind} if self.kind else None


def _highest() -> int:
    """The highest resident set, without the pages of files."""
    told = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    highest, mapped = (1024 * int(told[name].split()[0]) for name in ("VmHWM", "RssFile"))
    return highest - mapped
