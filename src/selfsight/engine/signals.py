"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a wish to stop, granted at once where nothing is lost by it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

# SLURM announces the end of a job's time by SIGUSR1; a terminal that closes sends SIGHUP.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
SAME_MOMENT = 2.0  # seconds in which several signals are one wish: a launcher and a terminal both send theirs


class Interrupted(KeyboardInterrupt):
    """A signal ended a verb; `status` is the exit code that shells expect of it."""

    def __init__(self, number: int, text: str):
        super().__init__(text)
        self.status = 128 + number


class Leave(BaseException):
    """Raised by a handler to leave at once; neither Lightning nor anything on the way answers it."""


class StopRequest:
    """While entered, a signal before the first step leaves at once, and a later one sets `signal`, to be
    granted when the step is done. One more, some seconds later, leaves at once in any case.

    between: whether what raised left the training between two steps, where a checkpoint can be written.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.between = False
        self.say = True
        self._patient = False  # whether a step is under way that is worth waiting for
        self._since = 0.0
        self._former: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.getsignal(number) for number in SIGNALS}
            if hasattr(signal, "SIGHUP") and self._former[signal.SIGHUP] == signal.SIG_IGN:  # nohup
                del self._former[signal.SIGHUP]
            self.take_over()
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
        if isinstance(error, Leave):
            assert self.signal is not None
            name = signal.Signals(self.signal).name
            when = "by a second signal: the last checkpoint stands" if self._patient else f"by {name}"
            raise Interrupted(self.signal, f"interrupted {when}") from None

    def take_over(self) -> None:
        """Handle the signals here, whoever has taken them meanwhile."""
        for number in self._former:
            signal.signal(number, self._note)

    def be_patient(self) -> None:
        """From now on let the step finish."""
        self._patient = True

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Nothing is lost by leaving in the body, which waits between two steps."""
        self.between = True
        yield
        self.between = False  # and stays True where the body raised

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked worker, which its parent ends
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            if self._patient and not self.between:
                if self.say:
                    name = signal.Signals(number).name
                    log.warning("%s: stopping when this step is done; once more stops at once", name)
                return
        elif now - self._since < SAME_MOMENT:
            return
        raise Leave
