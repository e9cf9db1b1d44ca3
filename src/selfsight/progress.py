"""How far long work has come, and how long it takes: one line on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO, TypeVar

Item = TypeVar("Item")

QUIET_SECONDS = 2.0  # what is done sooner says nothing
REFRESH_SECONDS = 0.2
LINE_SECONDS = 10.0
ERASE = "\r\x1b[2K"


@dataclass
class Screen:
    """Where progress is shown; nowhere without a stream."""

    stream: TextIO | None = None
    drawn: bool = False
    nested: int = 0

    @property
    def live(self) -> bool:
        """Whether a line may be rewritten in place."""
        return self.stream is not None and self.stream.isatty()

    def draw(self, text: str) -> None:
        """Show a line, in place where that is possible."""
        assert self.stream is not None
        if self.live:
            text = ERASE + text[: shutil.get_terminal_size().columns - 1]
        self.stream.write(text if self.live else text + "\n")
        self.stream.flush()
        self.drawn = self.live

    def clear(self) -> None:
        """Make room for a message."""
        if self.drawn and self.stream is not None:
            self.stream.write(ERASE)
            self.stream.flush()
        self.drawn = False


SCREEN = Screen()


@contextmanager
def shown_on(stream: TextIO | None) -> Iterator[None]:
    """Progress is shown on `stream` inside; nowhere with None."""
    before, SCREEN.stream = SCREEN.stream, stream
    try:
        yield
    finally:
        SCREEN.clear()
        SCREEN.stream = before


def track(
    items: Iterable[Item], total: int, what: str, *, unit: str = "images", size: Callable[[Item], int] | None = None
) -> Iterator[Item]:
    """The same items, showing how many of `total` are done.

    size: how many an item counts for, by default one.
    """
    line = Line(total, what, unit)
    SCREEN.nested += 1
    try:
        for item in items:
            yield item
            line.add(1 if size is None else size(item))
    finally:
        SCREEN.nested -= 1
        SCREEN.clear()


@dataclass
class Line:
    """One piece of work: how much there is and how much is done."""

    total: int
    what: str
    unit: str
    done: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    said: float | None = None

    def add(self, count: int) -> None:
        """Count what was done, and say so where it is time to."""
        self.done += count
        if SCREEN.stream is None or SCREEN.nested > 1 or self.done >= self.total:
            return
        now = time.monotonic()
        pause = REFRESH_SECONDS if SCREEN.live else LINE_SECONDS
        if now - self.began >= QUIET_SECONDS and now - (self.said or self.began) >= pause:
            self.said = now
            SCREEN.draw(self.describe(now - self.began))

    def describe(self, seconds: float) -> str:
        """The line after so many seconds."""
        left = duration(seconds / self.done * (self.total - self.done)) if self.done else "?"
        return f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, {left} left"


def duration(seconds: float) -> str:
    """Seconds as 45s, 12m, 3h05."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 90 else f"{minutes // 60}h{minutes % 60:02}"
