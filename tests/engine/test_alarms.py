import pytest

from selfsight.engine.alarms import find_alarms

HEALTHY = {"loss": 1.0, "encoder_spread": 0.8, "projector_spread": 0.7, "encoder_rank": 100.0, "data_wait": 0.02}


def names(values, former=None):
    return [alarm.name for alarm in find_alarms({**HEALTHY, **values}, former or HEALTHY)]


def test_silence_when_all_is_well():
    assert names({"teacher_entropy": 2.0, "teacher_entropy_max": 4.0}) == []


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"projector_spread": 0.05}, "collapse"),
        ({"encoder_spread": 0.099}, "collapse"),
        ({"encoder_rank": 49.0}, "rank halved"),
        ({"loss": float("nan")}, "non-finite"),
        ({"variance": float("inf")}, "non-finite"),
        ({"data_wait": 0.21}, "data wait"),
        ({"teacher_entropy": 0.01, "teacher_entropy_max": 4.0}, "teacher too sure"),
        ({"teacher_entropy": 3.99, "teacher_entropy_max": 4.0}, "teacher unsure"),
    ],
)
def test_each_alarm_by_name(values, name):
    assert names(values) == [name]


def test_a_low_spread_that_rises_or_is_the_initial_weights_is_no_collapse():
    low = {"projector_spread": 0.05}
    assert not find_alarms({**low, "step": 3}, {})
    assert find_alarms({**low, "step": 100}, {})
    assert not find_alarms({**low, "step": 300}, {"projector_spread": 0.04})
    assert find_alarms({**low, "step": 30}, {"projector_spread": 0.06})


def test_nothing_is_read_from_what_was_not_measured():
    assert find_alarms({"loss": 1.0}, {}) == []
    assert names({"encoder_rank": 51.0}) == []


def test_an_alarm_says_cause_and_remedy():
    (alarm,) = find_alarms({"projector_spread": 0.05}, {})
    assert str(alarm).startswith("collapse: projector_spread is 0.050") and "Lower lr" in str(alarm)
    assert alarm.fatal
    assert not find_alarms({"data_wait": 0.5}, {})[0].fatal
