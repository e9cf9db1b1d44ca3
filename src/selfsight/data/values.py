"""What the values of an image may be: numbers, within the range of the source."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

log = logging.getLogger(__name__)

FULL_RANGES = {torch.uint8: (0.0, 255.0), torch.uint16: (0.0, 65535.0), torch.bool: (0.0, 1.0)}
LARGEST = 1e30  # beyond it lie marks of "no data", such as -3.4e38, and what float32 cannot reckon with
ROUNDING = 1e-6  # of the range, which shrinking may overshoot by


class UnreadableImage(ValueError):
    """An image that cannot be decoded; lanes name it and go on."""


class NotANumber(ValueError):
    """A value that is NaN, infinite, or as large as only a mark of missing data is."""


def full_range(dtype: torch.dtype) -> tuple[float, float] | None:
    """The range of a type that images are commonly stored in, else None."""
    return FULL_RANGES.get(dtype)


def extremes(pixels: Tensor) -> tuple[float, float]:
    """The lowest and highest value. Raises `NotANumber`."""
    values = pixels.to(torch.int32) if pixels.dtype == torch.uint16 else pixels
    low, high = (float(value) for value in values.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotANumber(f"it holds NaN or infinite values (lowest {low:g}, highest {high:g})")
    if max(-low, high) > LARGEST:
        raise NotANumber(f"it holds {high if high > LARGEST else low:g}, which stands for missing values")
    return low, high


def checked(pixels: Tensor, value_range: tuple[float, float]) -> tuple[Tensor, bool]:
    """Pixels clipped to a range, and whether any lay outside. Raises `NotANumber`."""
    if full_range(pixels.dtype) == value_range:
        return pixels, False
    low, high = value_range
    lowest, highest = extremes(pixels)
    if low <= lowest and highest <= high:
        return pixels, False
    slack = ROUNDING * (high - low)
    outside = lowest < low - slack or highest > high + slack
    if pixels.dtype.is_floating_point:
        return pixels.clamp(low, high), outside
    values = pixels.to(torch.int64).clamp(math.ceil(low), math.floor(high))
    return values.to(pixels.dtype), outside


@dataclass
class Clipped:
    """The images of a source that held values outside of its range, by index, with their names.

    fresh: those that the process which started this one was not told yet.
    """

    name: str
    images: dict[int, str] = field(default_factory=dict)
    fresh: dict[int, str] = field(default_factory=dict)
    said: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def add(self, images: dict[int, str]) -> None:
        """Note images that were clipped."""
        new = {index: name for index, name in images.items() if index not in self.images}
        self.images |= new
        self.fresh |= new

    def take(self) -> dict[int, str]:
        """Those that are fresh, once."""
        fresh, self.fresh = self.fresh, {}
        return fresh

    def say(self, value_range: tuple[float, float]) -> None:
        """One line of how many there are, where there are more than when it was last said."""
        if len(self) > self.said:
            low, high = value_range
            some = next(iter(self.images.values()))
            log.warning(
                "%s: %d images hold values outside of %g to %g, such as %s; they were clipped",
                self.name, len(self), low, high, some,
            )  # fmt: skip
        self.said = len(self)
