"""Schedules as functions of the optimiser step, counted from 0."""

from __future__ import annotations

import math


def half_cosine(progress: float, start: float, end: float) -> float:
    """From `start` at progress 0 to `end` at progress 1, along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def warmup_cosine(step: int, steps: int, warmup: int, final: float = 0.0) -> float:
    """The share of the peak rate at `step`: linear up to 1 at step `warmup`, then half a cosine to `final`.

    The first step already takes `1 / warmup`: a rate of exactly zero would waste it.
    """
    if step < warmup:
        return (step + 1) / warmup
    return half_cosine((step - warmup) / max(steps - warmup, 1), 1.0, final)
