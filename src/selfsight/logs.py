"""What the library says while it works, as plain lines on the screen beside the progress of what takes long."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from selfsight.progress import SCREEN, shown_on

LOGGER = logging.getLogger("selfsight")
Verb = TypeVar("Verb", bound=Callable[..., Any])


class ScreenHandler(logging.StreamHandler):
    """Messages as plain lines on stderr, in the place of a line of progress."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        SCREEN.clear()
        super().emit(record)


@contextmanager
def spoken() -> Iterator[None]:
    """Show messages and progress on stderr, unless somebody does already."""
    if any(isinstance(handler, ScreenHandler) for handler in LOGGER.handlers):
        yield
        return
    handler, level = ScreenHandler(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        with shown_on(sys.stderr):
            yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def speaking(verb: Verb) -> Verb:
    """A verb that shows what it has to say."""

    @wraps(verb)
    def aloud(*args: Any, **kwargs: Any) -> Any:
        with spoken():
            return verb(*args, **kwargs)

    return cast(Verb, aloud)
