"""The run's log: on the screen, and in `log.txt` once there is a folder for it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path

from selfsight.logs import LOGGER, ScreenHandler
from selfsight.progress import shown_on

MOST_KEPT = 10_000


class RunLog:
    """Messages of one run; those from before `open` are kept and come first in the file."""

    def __init__(self) -> None:
        self._kept = MemoryHandler(MOST_KEPT, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def open(self, path: Path) -> None:
        """Write to `path/log.txt`, at its end."""
        file = logging.FileHandler(path / "log.txt", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._kept.setTarget(file)
        self._kept.flush()
        self._kept.flushLevel = logging.DEBUG

    def close(self) -> None:
        """Let go of the file."""
        if self._kept.target is not None:
            self._kept.flush()
            self._kept.target.close()
        self._kept.close()


@contextmanager
def run_log(rank: int) -> Iterator[RunLog]:
    """A log on rank 0, and silence on the others, who would say the same."""
    log = RunLog()
    handlers: list[logging.Handler] = [log._kept, ScreenHandler()] if rank == 0 else [logging.NullHandler()]
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = rank == 0 and propagate
    for handler in handlers:
        LOGGER.addHandler(handler)
    try:
        with shown_on(sys.stderr if rank == 0 else None):
            yield log
    finally:
        for handler in handlers:
            LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate
        log.close()
