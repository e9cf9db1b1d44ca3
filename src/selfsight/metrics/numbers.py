"""A number an image: mean absolute and root mean square error, coefficient of determination, Pearson's r."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from selfsight.metrics.outcome import Outcome

ROUNDING = 1e-24  # a variance below this share of the mean square is none


class Numbers(Outcome):
    """Predicted beside true numbers, `(N,)` each."""

    main = "r2"
    bounds = (-math.inf, math.inf)
    undefined: ClassVar[Mapping[str, str]] = {
        "r2": "images whose true values differ",
        "r": "values that differ, true and predicted ones",
    }

    def __init__(self, truth: Tensor, predicted: Tensor):
        self.truth = truth.double()
        self.predicted = predicted.double()

    def __len__(self) -> int:
        return len(self.truth)

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        weights = weights.double()
        weights = weights / weights.sum(dim=1, keepdim=True)
        error = self.predicted - self.truth
        unexplained = weights @ error.square()
        x, y = (values - (weights @ values)[:, None] for values in (self.truth, self.predicted))
        variance, spread = (weights * x.square()).sum(dim=1), (weights * y.square()).sum(dim=1)
        differs, varies = (
            part > ROUNDING * (weights @ values.square())
            for part, values in ((variance, self.truth), (spread, self.predicted))
        )
        r = (weights * x * y).sum(dim=1) / (variance * spread).sqrt()
        return {
            "mae": weights @ error.abs(),
            "rmse": unexplained.sqrt(),
            "r2": torch.where(differs, 1 - unexplained / variance, torch.nan),
            "r": torch.where(differs & varies, r, torch.nan),
        }
