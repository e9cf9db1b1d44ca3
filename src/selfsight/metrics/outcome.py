"""What was answered for each test image, and how right it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor


class Outcome:
    """Answers for `N` test images beside the truth.

    main: the metric that a table shows. bounds: between which all metrics lie. undefined: what a metric that is not a
    number lacks, by its name.
    """

    main: ClassVar[str]
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    undefined: ClassVar[Mapping[str, str]] = {}

    def __len__(self) -> int:
        raise NotImplementedError

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        """Metrics by name, each `(B,)` float64, NaN where it is undefined.

        weights `(B, N)`: how often each image counts, in `B` ways: all ones for the metric as it is commonly
        defined, a row of a bootstrap for one of its resamples.
        """
        raise NotImplementedError


class PerImage(Outcome):
    """Metrics that are means over images, such as those of retrieval: `(N,)` each, by name; the first is the main.

    An image for which one is NaN does not count.
    """

    def __init__(self, **each: Tensor):
        self.each = {name: values.double() for name, values in each.items()}
        self.main = next(iter(each))  # type: ignore[misc]  # of this outcome, not of all

    def __len__(self) -> int:
        return len(next(iter(self.each.values())))

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        weights = weights.double()
        known = {name: values.isfinite() for name, values in self.each.items()}
        return {
            name: weights @ values.nan_to_num() / (weights @ known[name].double()) for name, values in self.each.items()
        }
