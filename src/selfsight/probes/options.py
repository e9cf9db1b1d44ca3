"""Options of the verbs that look at features, checked before anything is read."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

LEAST = {
    "batch_size": 1, "workers": 0, "limit": 1, "k": 1, "seed": 0, "opset": 1, "channels": 1, "folds": 2
}  # fmt: skip
MOST = {"seed": 2**63 - 1}


def check_numbers(**options: Any) -> None:
    """Raise a `ValueError` for an option that is no whole number, or below the least of its name; None is unset."""
    for name, value in options.items():
        if value is None:
            continue
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise ValueError(f"{name} is a whole number, not {value!r}")
        if value < LEAST[name]:
            raise ValueError(f"{name} is at least {LEAST[name]}, not {value}")
        if int(value) > MOST.get(name, math.inf):
            raise ValueError(f"{name} is at most {MOST[name]}, not {value}")


def check_words(**options: Any) -> None:
    """Raise a `ValueError` for an option that is no word, or an empty one; None is unset."""
    for name, value in options.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise ValueError(f"{name} is a name and not empty, not {value!r}")


def check_switches(**options: Any) -> None:
    """Raise a `ValueError` for an option that is neither True nor False."""
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} is True or False, not {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise a `ValueError` unless `value` is one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")


def check_neighbours(k: int, temperature: float) -> None:
    """Refuse what means nothing to kNN."""
    check_numbers(k=k)
    if not isinstance(temperature, int | float) or temperature is True or not 0 < temperature < math.inf:
        raise ValueError(f"temperature is above 0, not {temperature!r}")
