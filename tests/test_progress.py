"""Progress of long work: silent when quick, a line in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import logging

import pytest

from selfsight import progress
from selfsight.logs import spoken


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second whenever it is looked at."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


@pytest.mark.parametrize(("stream", "lines"), [(io.StringIO(), 2), (Terminal(), 23)])
def test_how_much_is_done_and_left(clock, stream, lines):
    with progress.shown_on(stream):
        assert list(progress.track(range(25), 25, "reading x")) == list(range(25))
    said = stream.getvalue()
    assert said.count("reading x: ") == lines and "25 images" in said and "s left" in said
    assert said.endswith(progress.ERASE if isinstance(stream, Terminal) else "\n")


def test_quick_work_and_work_inside_other_work_say_nothing(clock):
    stream = io.StringIO()
    with progress.shown_on(stream):
        list(progress.track(range(2), 2, "quick"))
        for _ in progress.track(range(2), 2, "outer"):
            list(progress.track(range(50), 50, "inner"))
    assert stream.getvalue() == ""
    list(progress.track(range(50), 50, "not shown anywhere"))


def test_verbs_show_messages_once(capsys):
    with spoken(), spoken():
        logging.getLogger("selfsight.data").info("read")
    assert capsys.readouterr().err == "read\n"
