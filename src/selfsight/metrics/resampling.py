"""How sure a figure is: by the bootstrap over test images, or over what they belong to, or over repetitions.

Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapter 13: intervals by percentiles. One set of resamples
serves all encoders, so that the difference between two is that on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from selfsight.metrics.outcome import Outcome

DRAWS = 1000
LEVEL = 0.95
AT_ONCE = 2**22  # weights that are in memory at once


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, NaN where it is undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Resamples:
    """The ways in which `images` test images are drawn again, with replacement.

    groups: `(N,)` a number for what each image belongs to, such as its patient; then those are drawn, with all of
    their images.
    """

    images: int
    seed: int = 0
    groups: np.ndarray | None = None
    draws: int = DRAWS

    def __iter__(self) -> Iterator[Tensor]:
        """How often each image counts, `(b, N)` float32, some resamples at a time."""
        generator = np.random.default_rng(self.seed)
        units, members = self.images, None
        if self.groups is not None:
            found, members = np.unique(self.groups, return_inverse=True)
            units = len(found)
        rows = max(1, AT_ONCE // max(units, self.images))
        for start in range(0, self.draws, rows):
            count = min(rows, self.draws - start)
            drawn = generator.integers(0, units, (count, units)) + units * np.arange(count)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units)
            yield torch.from_numpy((counts if members is None else counts[:, members]).astype(np.float32))

    def of(self, outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, Tensor]]:
        """The metrics of each outcome by name, `(1 + draws,)`: as it is, then of each resample."""
        parts: dict[str, dict[str, list[Tensor]]] = {name: {} for name in outcomes}
        for weights in (torch.ones(1, self.images), *self):
            for name, outcome in outcomes.items():
                for metric, values in outcome.values(weights).items():
                    parts[name].setdefault(metric, []).append(values)
        return {name: {metric: torch.cat(some) for metric, some in one.items()} for name, one in parts.items()}


def by_percentiles(values: Tensor) -> Estimate:
    """The first of `(1 + B,)` values with the interval of the others; no interval where too few are defined."""
    value, others = float(values[0]), values[1:][values[1:].isfinite()]
    if not math.isfinite(value) or 2 * len(others) < len(values) - 1 or not len(others):
        return Estimate(value)
    edge = (1 - LEVEL) / 2
    low, high = torch.quantile(others, torch.tensor([edge, 1 - edge], dtype=others.dtype)).tolist()
    return Estimate(value, low, high)


def by_repetition(values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """The mean of a figure over repetitions, such as folds or draws, with Student's interval; those where it is
    undefined are left out. bounds: between which the figure always lies, and the interval, too."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Estimate(math.nan)
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return Estimate(mean)
    reach = student.ppf((1 + LEVEL) / 2, len(known) - 1) * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    return Estimate(mean, float(max(mean - reach, bounds[0])), float(min(mean + reach, bounds[1])))
