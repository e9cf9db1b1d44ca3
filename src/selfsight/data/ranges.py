"""One range of values for all images that an encoder sees."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from selfsight.data.decoding import shrink
from selfsight.data.reading import read_each
from selfsight.data.sources import Source, Subset, range_of, seeded_sample
from selfsight.data.values import FULL_RANGES, LARGEST, UnreadableImage, extremes, full_range

log = logging.getLogger(__name__)

LOOKED_AT = 64
LOOKED_AT_FOR_RANGE = 256
SIDE = 64  # that images are looked at
MOST_OUTSIDE = 0.5
NARROW = 0.02  # of a range: values that fill no more of it, and leave it too, are on another scale
FULL = {*FULL_RANGES.values()}

Range = tuple[float, float]


def as_trained(source: Source, value_range: Range) -> Source:
    """The source, read in the range that an encoder was trained with.

    A source that fills the whole range of a type (0 to 255, 0 to 65535, floats from 0 to 1) stays as it is where
    the encoder's is another type's: both are mapped to [0, 1]. Otherwise the encoder's range is taken, and values
    outside are clipped.

    Raises:
        ValueError: where most values of a seeded sample lie outside of the encoder's range.
    """
    own, wanted = source.value_range, (float(value_range[0]), float(value_range[1]))
    if own == wanted:
        return source
    if own in FULL and wanted in FULL:
        log.info("%s has values from %s, the encoder was trained from %s: each is mapped to [0, 1]",
                 source.name, shown(own), shown(wanted))  # fmt: skip
        return source
    fault = other_scale(source, wanted, "that the encoder was trained with")
    if fault is not None:
        raise ValueError(fault)
    log.info("%s is read in the range that the encoder was trained with, %s, and not in its own, %s",
             source.name, shown(wanted), shown(own))  # fmt: skip
    return source.in_range(wanted)


def share_range(parts: Mapping[str, Source]) -> dict[str, Source]:
    """The parts of one data set, read in the range of the training part (of the first where there is none)."""
    if len(parts) < 2:
        return dict(parts)
    first = "train" if "train" in parts else next(iter(parts))
    wanted = range_of_part(parts[first])
    return {name: as_first(part, wanted, first) for name, part in parts.items()}


def range_of_part(part: Source) -> Range:
    """The range of a part, and not of the rest of the data that it is cut from."""
    if not isinstance(part, Subset) or full_range(part.dtype) is not None:
        return part.value_range
    raw = part.in_range((-LARGEST, LARGEST))
    return range_of(part.dtype, readable(raw, LOOKED_AT_FOR_RANGE))


def as_first(part: Source, wanted: Range, first: str) -> Source:
    """A part in the range of another one; what differs is said."""
    if part.value_range == wanted or (part.value_range in FULL and wanted in FULL):
        return part
    fault = other_scale(part, wanted, f"of the part {first!r}")
    if fault is not None:
        log.warning(fault)
    return part.in_range(wanted)


def readable(source: Source, most: int) -> Iterator[Tensor]:
    """Images of a seeded sample, those left out that cannot be read: a lane names them."""
    chosen = seeded_sample(len(source), most, seed=0).tolist()
    return (image for image in read_each(source, chosen) if not isinstance(image, UnreadableImage))


def other_scale(source: Source, wanted: Range, whose: str) -> str | None:
    """Why the values of a source are on another scale than a range, or None where most of them lie in it."""
    low, high = wanted
    raw = source.in_range((-LARGEST, LARGEST))
    outside, count, lowest, highest = 0, 0, float("inf"), float("-inf")
    for image in readable(raw, LOOKED_AT):
        values = shrink(image, SIDE).to(torch.float64)
        first, last = extremes(values)
        outside += int(((values < low) | (values > high)).sum())
        count += values.numel()
        lowest, highest = min(lowest, first), max(highest, last)
    narrow = outside > 0 and highest - lowest < NARROW * (high - low)
    if not count or (outside <= MOST_OUTSIDE * count and not narrow):
        return None
    return (
        f"{source.name} has values from {lowest:g} to {highest:g}, of which {outside / count:.0%} lie outside of the "
        f"range {whose}, {shown(wanted)}: bring the images to that range"
    )


def shown(value_range: Range) -> str:
    """A range in words."""
    return f"{value_range[0]:g} to {value_range[1]:g}"
