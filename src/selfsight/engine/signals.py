"""Ctrl-C and SIGTERM as a wish to stop, granted when the step is done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While entered, the first SIGINT or SIGTERM sets `signal`; a second one acts as it did before."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.getsignal(number) for number in SIGNALS}
            self.take_over()
        return self

    def take_over(self) -> None:
        """Handle the signals here, whoever has taken them meanwhile."""
        for number in self._former:
            if self.signal is None:
                signal.signal(number, self._note)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._former[number])
