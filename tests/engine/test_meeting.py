"""How long processes wait for each other."""

from __future__ import annotations

import pytest

from selfsight.engine.meeting import PATIENCE, START_SECONDS, patience


def test_patience_is_that_of_the_environment_and_must_be_a_number(monkeypatch):
    monkeypatch.delenv(PATIENCE, raising=False)
    assert patience() == START_SECONDS
    monkeypatch.setenv(PATIENCE, "2.5")
    assert patience() == 2.5
    monkeypatch.setenv(PATIENCE, "long")
    with pytest.raises(ValueError, match=f"{PATIENCE} is 'long' and no number of seconds"):
        patience()
