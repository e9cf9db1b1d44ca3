import math

import pytest

from selfsight.engine.schedules import half_cosine, warmup_cosine


def test_warm_up_rises_to_the_peak_and_never_wastes_a_step():
    rates = [warmup_cosine(step, 100, 10) for step in range(11)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10] == 1


def test_after_warm_up_half_a_cosine_to_the_final_share():
    assert warmup_cosine(55, 100, 10, final=0.2) == pytest.approx(0.6)
    assert warmup_cosine(100, 100, 10, final=0.2) == pytest.approx(0.2)
    expected = [(1 + math.cos(math.pi * step / 100)) / 2 for step in range(100)]
    assert [warmup_cosine(step, 100, 0) for step in range(100)] == pytest.approx(expected)


def test_a_run_that_is_all_warm_up():
    assert warmup_cosine(4, 5, 5) == 1


def test_half_cosine_stays_at_its_end():
    assert half_cosine(0, 0.04, 0.4) == pytest.approx(0.04)
    assert half_cosine(0.5, 0.04, 0.4) == pytest.approx(0.22)
    assert half_cosine(1.5, 0.04, 0.4) == pytest.approx(0.4)
