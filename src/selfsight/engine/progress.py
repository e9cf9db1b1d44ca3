"""One line that says how training goes; rewritten in place on a terminal, once an epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from selfsight.progress import REFRESH_SECONDS, duration


class Progress:
    """Shows epoch, loss, images/s, kNN, rank, spread and data wait; `None` for a silent rank."""

    def __init__(self, epochs: int, steps: int, stream: TextIO | None = sys.stderr):
        self.epochs, self.steps, self.stream = epochs, steps, stream
        self.live = stream is not None and stream.isatty()
        self.values: dict[str, float] = {}
        self.measured: dict[str, int] = {}
        self._start = self._shown = time.monotonic()
        self._first_step: int | None = None

    def update(self, step: int, epoch: int, values: dict[str, float] | None = None, *, ended: bool = False) -> None:
        """Take in what is new; `ended` closes the epoch's line, and marks there what an earlier epoch measured."""
        self.values |= values or {}
        self.measured |= dict.fromkeys(values or {}, epoch)
        if self._first_step is None:
            self._first_step = step
        now = time.monotonic()
        if self.stream is None or not (ended or (self.live and now - self._shown >= REFRESH_SECONDS)):
            return
        self._shown = now
        old = {name: measured for name, measured in self.measured.items() if measured < epoch - (not ended)}
        text = describe(epoch, self.epochs, self.values, old) + self._remaining(step, now)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[2K" + text[:width])
        if ended:
            self.stream.write("\n" if self.live else text + "\n")
        self.stream.flush()

    def clear(self) -> None:
        """Make room for a message."""
        if self.live and self.stream is not None:
            self.stream.write("\r\x1b[2K")

    def _remaining(self, step: int, now: float) -> str:
        done = step - (self._first_step or 0)
        if done <= 0 or step >= self.steps:
            return ""
        return f"  {duration((now - self._start) / done * (self.steps - step))} left"


def describe(epoch: int, epochs: int, values: dict[str, float], old: dict[str, int] | None = None) -> str:
    """The line without the time that is left; what was not measured is not named.

    old: the epoch in which a value was measured, where that is to be said.
    """
    shown = (
        ("loss", "loss {:.4g}"),
        ("images_per_second", "{:,.0f} images/s"),
        ("knn", "kNN {:.3f}"),
        ("encoder_rank", "rank {:.1f}"),
        ("projector_spread", "spread {:.2f}"),
        ("data_wait", "data wait {:.0%}"),
    )
    old = old or {}
    parts = [f"epoch {epoch}/{epochs}"]
    for name, form in shown:
        if name in values:
            parts.append(form.format(values[name]) + (f" (epoch {old[name]})" if name in old else ""))
    return "  ".join(parts)
