"""All knobs of random views, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

from selfsight.data.sizes import Size

Probability = float | tuple[float, float]
Range = tuple[float, float]

PROBABILITIES = ("flip", "jitter_p", "grayscale", "blur", "solarize", "noise", "cutout")
AREAS = ("scale", "global_scale", "local_scale", "cutout_scale")
POSITIVE_RANGES = ("ratio", "blur_sigma")


@dataclass(frozen=True)
class Augmentation:
    """How random views are made; the defaults are SimCLR's.

    Chen et al.: A Simple Framework for Contrastive Learning of Visual Representations
    (ICML 2020), appendix A. A probability may be a pair: the first is for the first view,
    the second for all later views.

    scale, ratio: area of a crop as a fraction of the image, and its width to height.
    flip: probability of a mirror image, left to right (last axis).
    rotate, shift: largest rotation in degrees, and largest shift as a fraction of the view.
    jitter: strength of brightness, contrast, saturation and hue; jitter_p: its probability.
    grayscale, blur, solarize, noise, cutout: probabilities.
    blur_sigma: in pixels of the view. solarize_threshold, noise_sigma: on pixels in [0, 1].
    cutout_scale: area of the hole as a fraction of the view.
    crops: numbers of global and local crops; (2, 0) is two views.
    local_size: pixels a side of local crops, or a size for each axis; None is 96/224 of the view, a multiple of 4.
    global_scale, local_scale: `scale` of global and local crops, where there are local ones.

    A knob that changes nothing in a method's views is refused by `pretrain`, unless it is turned off.
    """

    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    rotate: float = 0.0
    shift: float = 0.0
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_p: Probability = 0.8
    grayscale: Probability = 0.2
    blur: Probability = 0.5
    blur_sigma: Range = (0.1, 2.0)
    solarize: Probability = 0.0
    solarize_threshold: float = 0.5
    noise: Probability = 0.0
    noise_sigma: Range = (0.0, 0.1)
    cutout: Probability = 0.0
    cutout_scale: Range = (0.02, 0.33)
    crops: tuple[int, int] = (2, 0)
    local_size: Size | None = None
    global_scale: Range = (0.14, 1.0)
    local_scale: Range = (0.05, 0.14)

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            value = getattr(self, name)
            both = value if isinstance(value, tuple) else (value, value)
            right = len(both) == 2 and all(is_number(p) and 0 <= p <= 1 for p in both)
            self._check(name, right, "between 0 and 1, or a pair of such")
        for name in AREAS:
            self._check_range(name, 0, 1)
        for name in POSITIVE_RANGES:
            self._check_range(name, 0, math.inf)
        low, high = self.noise_sigma if are_numbers(self.noise_sigma, 2) else (-1, -1)
        self._check("noise_sigma", 0 <= low <= high < math.inf, "two values, 0 <= low <= high")
        self._check("rotate", is_number(self.rotate) and 0 <= self.rotate <= 180, "between 0 and 180 degrees")
        self._check("shift", is_number(self.shift) and 0 <= self.shift <= 1, "between 0 and 1, a fraction of the view")
        threshold = self.solarize_threshold
        self._check("solarize_threshold", is_number(threshold) and 0 <= threshold <= 1, "between 0 and 1")
        strengths_fit = are_numbers(self.jitter, 4) and 0 <= min(self.jitter) <= max(self.jitter) < math.inf
        strengths_fit = strengths_fit and self.jitter[3] <= 0.5
        self._check("jitter", strengths_fit, "four strengths of at least 0, the last (hue) at most 0.5, half a turn")
        crops_fit = are_numbers(self.crops, 2, Integral) and self.crops[0] >= 1 and self.crops[1] >= 0
        self._check("crops", crops_fit, "(global, local) with at least one global crop, whole numbers")
        small = self.local_size
        sides: Any = small if isinstance(small, tuple | list) else (small,)
        fits = bool(sides) and all(is_number(side, Integral) and side >= 1 for side in sides)
        self._check("local_size", small is None or fits, "at least 1, one for each axis, or None")

    def of_view(self, i: int) -> Augmentation:
        """The settings of view `i`, with one value for each probability."""
        return replace(self, **{name: pair(getattr(self, name))[min(i, 1)] for name in PROBABILITIES})

    def _check(self, name: str, right: bool, wanted: str) -> None:
        if not right:
            raise ValueError(f"{name} is {getattr(self, name)!r}: it must be {wanted}")

    def _check_range(self, name: str, above: float, most: float) -> None:
        values = getattr(self, name)
        right = are_numbers(values, 2) and above < values[0] <= values[1] <= most and values[1] < math.inf
        self._check(name, right, f"two values, {above} < low <= high" + (f" <= {most}" if most < float("inf") else ""))


def is_number(value: Any, kind: type = Real) -> bool:
    """Whether `value` is a number, which True is not."""
    return isinstance(value, kind) and not isinstance(value, bool)


def are_numbers(values: Any, count: int, kind: type = Real) -> bool:
    """Whether `values` are `count` numbers."""
    return isinstance(values, tuple | list) and len(values) == count and all(is_number(v, kind) for v in values)


def pair(probability: Probability) -> tuple[float, float]:
    """The probabilities of the first and of all later views."""
    if isinstance(probability, (tuple, list)):
        if len(probability) != 2:
            raise ValueError(f"a probability is one value or a pair, got {probability!r}")
        return probability[0], probability[1]
    return probability, probability
