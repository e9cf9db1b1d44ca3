import os
import signal
import time

import pytest

from selfsight.engine import signals
from selfsight.engine.signals import SIGNALS, Interrupted, Leave, StopRequest


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_wish_while_steps_are_made(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None
        stop.be_patient()
        os.kill(os.getpid(), number)
        assert stop.signal == number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_the_first_step_leaves_at_once(number):
    with pytest.raises(KeyboardInterrupt, match=f"interrupted by {number.name}") as caught, StopRequest():
        os.kill(os.getpid(), number)
    assert isinstance(caught.value, Interrupted) and caught.value.status == 128 + number


def test_several_at_once_are_one_wish_and_a_later_one_acts(monkeypatch):
    monkeypatch.setattr(signals, "SAME_MOMENT", 0.2)
    with pytest.raises(Interrupted, match="second signal: the last checkpoint stands"), StopRequest() as stop:
        stop.be_patient()
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        assert stop.signal in SIGNALS
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)


def test_waiting_between_two_steps_is_left_at_once():
    stop = StopRequest()
    with pytest.raises(Interrupted), stop:
        stop.be_patient()
        with stop.between_steps():
            pass
        assert not stop.between
        with pytest.raises(Leave), stop.between_steps():
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.between
        raise Leave


def test_nohup_is_obeyed():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_takes_over_from_others():
    with StopRequest() as stop:
        stop.be_patient()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.take_over()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
