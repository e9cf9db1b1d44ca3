"""Where images are: each source reads one image at a time and knows what is known about it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsight.data.values import Clipped, NotANumber, UnreadableImage, checked, extremes, full_range
from selfsight.naming import printable

# What an image is stored as: the path of a file, encoded bytes, values, or a call that decodes it.
Stored = str | bytes | np.ndarray | Tensor | Callable[[], Tensor]


class Source:
    """Images by position, with a row of metadata each.

    metadata: a row an image; "path" where there is one, "label" as int64 codes where there
        are classes, -1 where one is missing, or as float numbers on a scale; any other columns.
    classes: names of the codes, or None.
    channels, dtype, value_range: what `read` answers; the range is what the values can take,
        and views map it to [0, 1].
    clipped: which images had values outside of the range.

    A subclass implements `_read`, or `read` where another source has looked at the values.
    """

    thread_safe = True

    def __init__(
        self,
        metadata: pd.DataFrame,
        *,
        name: str,
        channels: int,
        dtype: torch.dtype,
        value_range: tuple[float, float],
        classes: list[str] | None = None,
    ):
        self.metadata = metadata
        self.name = name
        self.channels = channels
        self.dtype = dtype
        self.value_range = value_range
        self.classes = classes
        self.clipped = Clipped(name)

    def __len__(self) -> int:
        return len(self.metadata)

    def __repr__(self) -> str:
        labels = f", {len(self.classes)} classes" if self.classes else ""
        return f"{type(self).__name__}({self.name}: {len(self):,} images, {self.channels} channels{labels})"

    def read(self, index: int, size: int | None = None) -> Tensor:
        """Pixels `(C, *S)` in the source's dtype, on the CPU.

        With `size`, an image whose short side is larger comes shrunk to it, undistorted, and its
        long side stays within 3 times `size`. Values outside of `value_range` are clipped, and counted
        in `clipped`. Raises `UnreadableImage`, also where a value is no number.
        """
        try:
            pixels, outside = checked(self._read(index, size), self.value_range)
        except NotANumber as error:
            raise UnreadableImage(f"{self.describe(index)}: {error}") from error
        if outside:
            self.clipped.add({index: self.describe(index)})
        return pixels

    def _read(self, index: int, size: int | None) -> Tensor:
        """Pixels as they are stored, shrunk."""
        raise NotImplementedError

    def in_range(self, value_range: tuple[float, float]) -> Source:
        """The same images, read in another range."""
        other = copy.copy(self)
        other.value_range = value_range
        other.clipped = Clipped(self.name)
        return other

    def shape(self, index: int) -> tuple[int, ...]:
        """Sizes `S` of an image as it is stored. Raises `UnreadableImage`."""
        return tuple(self.read(index).shape[1:])

    def dense(self) -> Tensor | None:
        """All images `(N, C, *S)` where they already lie in memory in one shape, without a copy."""
        return None

    def stored(self, index: int) -> Stored:
        """What an image is stored as, without decoding it: images that are stored alike are equal."""
        return partial(self.read, index)

    def describe(self, index: int) -> str:
        """The name of an image, for people, in one line."""
        return printable(self.metadata["path"].iloc[index]) if "path" in self.metadata else f"{self.name}[{index}]"

    @property
    def labels(self) -> np.ndarray | None:
        """`(N,)` int64 class codes, -1 where missing; None where there are none, or numbers on a scale."""
        dtype = self.metadata["label"].dtype if "label" in self.metadata else None
        codes = isinstance(dtype, np.dtype) and dtype.kind in "iu"
        return self.metadata["label"].to_numpy(np.int64) if codes else None


class Subset(Source):
    """Some images of a source, renumbered from zero."""

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray, name: str | None = None):
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.thread_safe = source.thread_safe
        super().__init__(
            source.metadata.iloc[self.indices].reset_index(drop=True),
            name=name or source.name,
            channels=source.channels,
            dtype=source.dtype,
            value_range=source.value_range,
            classes=source.classes,
        )
        self.clipped = source.clipped

    def read(self, index: int, size: int | None = None) -> Tensor:
        return self.source.read(int(self.indices[index]), size)

    def in_range(self, value_range: tuple[float, float]) -> Source:
        other = copy.copy(self)
        other.source = self.source.in_range(value_range)
        other.value_range, other.clipped = value_range, other.source.clipped
        return other

    def shape(self, index: int) -> tuple[int, ...]:
        return self.source.shape(int(self.indices[index]))

    def stored(self, index: int) -> Stored:
        return self.source.stored(int(self.indices[index]))

    def describe(self, index: int) -> str:
        return self.source.describe(int(self.indices[index]))


def subset(source: Source, indices: Sequence[int] | np.ndarray) -> Source:
    """The images at `indices`, in that order; index `i` of the result is `indices[i]` of the source."""
    return Subset(source, indices)


def seeded_sample(count: int, most: int, seed: int) -> np.ndarray:
    """At most `most` of `range(count)`, drawn without replacement, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def range_of(dtype: torch.dtype, sample: Iterable[Tensor]) -> tuple[float, float]:
    """The range of values: the type's for uint8, uint16 and bool, else [0, 1] where it holds
    the sample, else the sample's own lowest and highest value. Images that hold no numbers do not count."""
    known = full_range(dtype)
    if known is not None:
        return known
    found, fault = [], ""
    for pixels in sample:
        try:
            found.append(extremes(pixels))
        except NotANumber as error:
            fault = str(error)
    if not found:
        raise ValueError(f"no image that was looked at holds numbers alone: of the last one, {fault}")
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if dtype.is_floating_point and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1.0
