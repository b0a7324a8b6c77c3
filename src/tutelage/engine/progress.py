"""What a person sees while a run goes on: a bar in a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """Reports rate and time left.

    Args:
        title: What is going on.
        total: Number of steps.
        show: Whether this process speaks at all (one rank does).
    """

    def __init__(self, title: str, total: int, *, show: bool = True) -> None:
        self.title, self.total, self.show = title, total, show
        self._bar: Any = None
        self._task: Any = None
        self._began = time.monotonic()
        self._first = 0

    def __enter__(self) -> "Progress":
        if self.show and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} · {task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start_at(self, step: int) -> None:
        """Say where a resumed run begins, so that the time left is right."""
        self._first = step
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def step(self, step: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def note(self, step: int, text: str) -> None:
        """Show figures: beside the bar, or as a line with the time left where there is no terminal."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=text)
        elif self.show:
            done = max(step - self._first, 1)
            left = (time.monotonic() - self._began) / done * (self.total - step)
            print(
                f"{self.title}: step {step}/{self.total}, {text}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
