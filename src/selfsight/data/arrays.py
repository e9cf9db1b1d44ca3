"""Images in arrays: NumPy, torch, `.npy`, `.npz`, and scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsight.data.decoding import shrink
from selfsight.data.sources import Source, Stored, range_of, seeded_sample
from selfsight.data.values import NotANumber, extremes, full_range

LOOKED_AT_VALUES = 2**24  # at a time
FEW = 4  # an axis this short is taken for channels
USUAL = (1, 3)  # numbers of channels, which win where both ends are short
MOST_BANDS = 16  # of sensors with more than colours


def channel_axis(shape: Sequence[int], channels: int | None = None, *, of: str = "the array") -> int | None:
    """Which axis of one image holds its channels: 0, -1, or None where there is none.

    Two axes are a grey image. With three or four, an axis of length `channels` (1 to 4 unless given) at exactly
    one end holds the channels; where both ends are that short, the one of length 1 or 3. Otherwise three axes are
    a grey volume where its sides are alike (`is_volume`) or `channels` is 1.

    Raises:
        ValueError: for what could be read in several ways, naming the `channels` that would tell.
    """
    shown = f"{of} has images of shape {tuple(shape)}"
    if len(shape) not in (2, 3, 4) or min(shape) == 0:
        raise ValueError(f"{shown}: expected 2-D or 3-D, with or without channels, and pixels")
    asked = f"and {channels} channels are asked for, by channels= or by the encoder: give images of that many"
    if len(shape) == 2:
        if channels not in (None, 1):
            raise ValueError(f"{shown}, which are grey, {asked}")
        return None
    first, last = ((length == channels) if channels else (length <= FEW) for length in (shape[0], shape[-1]))
    if first and last and channels is None and (shape[0] in USUAL) != (shape[-1] in USUAL):
        return 0 if shape[0] in USUAL else -1
    if first and last:
        raise ValueError(
            f"{shown}, and both ends may hold the channels: name their number with channels=, or turn them"
        )
    if first or last:
        return 0 if first else -1
    if len(shape) == 3 and (channels == 1 or (channels is None and is_volume(shape))):
        return None
    if channels is not None:
        raise ValueError(f"{shown}, {asked}")
    ends = " or ".join(f"channels={length}" for length in dict.fromkeys((shape[0], shape[-1])))
    volume = ", or channels=1 if they are grey volumes" if len(shape) == 3 else ""
    raise ValueError(f"{shown}: cannot tell which axis holds channels; name their number, {ends}{volume}")


def refuse_one_image(shape: Sequence[int], channels: int | None, name: str) -> None:
    """Raise a `ValueError` for an array `(N, H, W)` that is one image `(H, W, C)` in colour."""
    if len(shape) == 3 and shape[-1] <= FEW < shape[0] and channels is None and shape[1] > FEW:
        raise ValueError(
            f"{name} has shape {tuple(shape)}, as one image in colour: add an axis, images[None]; or say "
            "channels=1 where it is many grey ones"
        )


def is_volume(shape: Sequence[int]) -> bool:
    """Whether three axes are surely space: all of a length, or none at the ends short enough to be channels."""
    shorter = min(shape[0], shape[-1])
    return len(set(shape)) == 1 or (shorter > MOST_BANDS and 2 * shorter >= max(shape))


def only_array(found: object) -> np.ndarray:
    """What NumPy read of a file. Raises a `ValueError` where that is no array."""
    if not isinstance(found, np.ndarray):
        raise ValueError(f"it holds {type(found).__name__}, and no array")
    return found


def as_channels_first(array: np.ndarray | Tensor, axis: int | None) -> Tensor:
    """One image as a tensor `(C, *S)`."""
    pixels = torch.from_numpy(_plain(array)) if isinstance(array, np.ndarray) else array
    return pixels[None] if axis is None else pixels.movedim(axis, 0)


def _plain(array: np.ndarray) -> np.ndarray:
    """An array that torch accepts: native byte order, writable, of a type it knows."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"arrays of {array.dtype} are not images: use uint8, uint16, int16 or float32")
    if isinstance(array, np.ma.MaskedArray):
        raise ValueError("a masked array says nothing of the values below its mask: fill them in")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"a value is {array.max()}, which no signed 64-bit number is: use smaller ones")
    if array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative or array.dtype in (np.uint32, np.uint64):
        array = array.astype(
            np.int64 if array.dtype.kind == "u" and array.itemsize > 2 else array.dtype.newbyteorder("=")
        )
    return array if array.flags.writeable and min(array.strides, default=0) >= 0 else array.copy()


def _plain_tensor(images: Tensor) -> Tensor:
    """A tensor on the CPU of a type that NumPy has."""
    if images.is_complex() or images.is_sparse or images.is_quantized:
        raise ValueError(f"tensors of {images.dtype} in {images.layout} are not images: use uint8, uint16 or float32")
    images = images.detach().cpu()
    return images if images.dtype != torch.bfloat16 else images.to(torch.float32)


class ArraySource(Source):
    """Images of one shape in an array `(N, ...)`, channels first, last or none (`channel_axis`).

    A memory-mapped array is read image by image. Images that are only shown, such as tensors
    and arrays in memory, are not copied.
    """

    def __init__(
        self,
        images: np.ndarray | Tensor,
        metadata: pd.DataFrame | None = None,
        *,
        name: str = "array",
        classes: list[str] | None = None,
        channels: int | None = None,
        value_range: tuple[float, float] | None = None,
    ):
        if images.ndim < 3 or len(images) == 0:
            raise ValueError(
                f"{name} has shape {tuple(images.shape)}: expected at least one image in an array (N, H, W), "
                "(N, C, H, W), (N, H, W, C), (N, D, H, W) or (N, C, D, H, W)"
            )
        self.images = _plain_tensor(images) if isinstance(images, Tensor) else images
        self.axis = channel_axis(images.shape[1:], channels, of=name)
        first = self._pixels(0)
        metadata = pd.DataFrame(index=pd.RangeIndex(len(images))) if metadata is None else metadata
        if len(metadata) != len(images):
            raise ValueError(f"{name} has {len(images)} images and {len(metadata)} rows of labels or metadata")
        if value_range is None:
            sample = (self._pixels(index) for index in seeded_sample(len(images), 2048, seed=0))
            value_range = range_of(first.dtype, sample)
        super().__init__(
            metadata, name=name, channels=first.shape[0], dtype=first.dtype, value_range=value_range, classes=classes
        )

    def _pixels(self, index: int) -> Tensor:
        return as_channels_first(self.images[index], self.axis)

    def _read(self, index: int, size: int | None) -> Tensor:
        return shrink(self._pixels(index), size).contiguous()

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self._pixels(index).shape[1:])

    def stored(self, index: int) -> Stored:
        return self.images[index]

    def dense(self) -> Tensor | None:
        if isinstance(self.images, np.memmap):
            return None
        images = torch.from_numpy(_plain(self.images)) if isinstance(self.images, np.ndarray) else self.images
        if not within(images, self.value_range):
            return None  # image by image, each of which is looked at
        return images[:, None] if self.axis is None else images.movedim(self.axis if self.axis < 0 else 1, 1)


def within(images: Tensor, value_range: tuple[float, float]) -> bool:
    """Whether all values of images `(N, ...)` are numbers in a range; a part at a time (16-bit ones are widened)."""
    if full_range(images.dtype) == value_range:
        return True
    rows = max(1, LOOKED_AT_VALUES // max(1, images[0].numel()))
    try:
        found = [extremes(part) for part in images.split(rows)]
    except NotANumber:
        return False
    return value_range[0] <= min(low for low, _ in found) and max(high for _, high in found) <= value_range[1]


def digits(name: str = "digits") -> ArraySource:
    """scikit-learn's 1,797 handwritten digits: 8x8 grey, values 0 to 16, ten classes."""
    from sklearn.datasets import load_digits

    bundle: Any = load_digits()
    metadata = pd.DataFrame({"label": bundle.target.astype(np.int64)})
    classes = [str(digit) for digit in range(10)]
    return ArraySource(bundle.images.astype(np.uint8), metadata, name=name, classes=classes, value_range=(0.0, 16.0))
