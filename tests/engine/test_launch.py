import json

import pytest

from selfsight.engine.launch import free_port, run_on_ranks


def test_what_a_process_was_asked_wrongly_is_said_here():
    with pytest.raises(ValueError, match="Expecting property name"):
        run_on_ranks(json.loads, 1, {"s": "{"})


def test_ports_are_free():
    assert free_port() != 0
