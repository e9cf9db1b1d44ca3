"""Images in files: what folders and tables have in common."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.arrays import as_channels_first, channel_axis
from selfsight.data.decoding import (
    DECODE_ERRORS,
    ImageFormat,
    UnreadableImage,
    common_format,
    decode,
    encoded_shape,
    kind_of,
    shrink,
)
from selfsight.data.sources import Source, Stored, range_of
from selfsight.naming import printable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
LOOKED_AT = 256
LOOKED_AT_CLOSELY = 32


class FileSource(Source):
    """One file an image: jpg, png, bmp, webp, tif, or a `.npy` array.

    Channels and depth follow from a seeded look at 256 files (see `common_format`; arrays as in
    `channel_axis`); any other image is converted to them. `channels` overrides their count.
    """

    def __init__(
        self,
        paths: Sequence[str],
        metadata: pd.DataFrame,
        *,
        name: str,
        channels: int | None = None,
        classes: list[str] | None = None,
    ):
        self.paths = np.asarray(paths, dtype=object)
        arrays = sum(path.endswith(".npy") for path in paths)
        self.arrays = arrays > 0
        if 0 < arrays < len(paths):
            raise ValueError(
                f"{name} mixes .npy arrays with image files, {arrays:,} and {len(paths) - arrays:,}: keep them apart, "
                "or name those of one kind in a table"
            )
        look = self._look_at_arrays if self.arrays else self._look_at_images
        form, value_range = look(name, channels)
        self.form = form
        super().__init__(
            metadata, name=name, channels=form.channels, dtype=form.dtype, value_range=value_range, classes=classes
        )

    def read(self, index: int, size: int | None = None) -> Tensor:
        path = self.paths[index]
        try:
            check_regular(path)
            if self.arrays:
                return shrink(self._array(path), size).contiguous()
            return decode(Path(path).read_bytes(), self.form, size)
        except DECODE_ERRORS as error:
            raise _unreadable(path, error) from error

    def shape(self, index: int) -> tuple[int, ...]:
        path = self.paths[index]
        try:
            check_regular(path)
            if self.arrays:
                return tuple(self._array(path).shape[1:])
            return encoded_shape(path)
        except DECODE_ERRORS as error:
            raise _unreadable(path, error) from error

    def stored(self, index: int) -> Stored:
        return self.paths[index]

    def _array(self, path: str) -> Tensor:
        array = np.load(path, allow_pickle=False)
        pixels = as_channels_first(array, channel_axis(array.shape, self.form.channels, of=path))
        if pixels.shape[0] != self.form.channels or pixels.dtype != self.form.dtype:
            raise ValueError(
                f"has {pixels.shape[0]} channels of {pixels.dtype}, "
                f"the others {self.form.channels} of {self.form.dtype}"
            )
        return pixels

    def _look_at_images(self, name: str, channels: int | None) -> tuple[ImageFormat, tuple[float, float]]:
        kinds = {kind for _, kind in self._readable(name, LOOKED_AT, _open_kind)}
        form = common_format(kinds, channels)
        floats = form.dtype == torch.float32
        sample = (
            self._readable(name, LOOKED_AT_CLOSELY, lambda path: decode(Path(path).read_bytes(), form))
            if floats
            else ()
        )
        return form, range_of(form.dtype, (pixels for _, pixels in sample))

    def _look_at_arrays(self, name: str, channels: int | None) -> tuple[ImageFormat, tuple[float, float]]:
        def load(path: str) -> Tensor:
            array = np.load(path, allow_pickle=False)
            return as_channels_first(array, channel_axis(array.shape, channels, of=path))

        _, first = next(self._readable(name, 1, load))
        sample = (pixels for _, pixels in self._readable(name, LOOKED_AT_CLOSELY, load))
        return ArrayFormat(first.shape[0], first.dtype), range_of(first.dtype, sample)

    def _readable(self, name: str, most: int, load: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
        """Path and contents of at most `most` readable files, in a seeded order."""
        found, first = 0, ""
        for path in self.paths[np.random.default_rng(0).permutation(len(self.paths))]:
            try:
                check_regular(path)
                contents = load(path)
            except DECODE_ERRORS as error:
                first = first or str(_unreadable(path, error))
                continue
            yield path, contents
            found += 1
            if found == most:
                return
        if not found:
            raise ValueError(f"no readable image in {name}: all {len(self.paths)} files fail, such as {first}")


class ArrayFormat(ImageFormat):
    """What all `.npy` files of a source hold: any number of channels of any type."""

    def __post_init__(self):
        pass


def check_regular(path: str) -> None:
    """Raise `OSError` for what is there and no file: reading a pipe or a device may never end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("this is no file but a folder, a pipe or a device")


def _open_kind(path: str) -> tuple[str, bool]:
    with Image.open(path) as image:
        return kind_of(image)


def _unreadable(path: str, error: BaseException) -> UnreadableImage:
    reason = "the file is empty" if Path(path).is_file() and Path(path).stat().st_size == 0 else str(error)
    if "cannot identify image file" in reason:
        reason = "this is not an image"
    return UnreadableImage(f"{printable(path)}: {reason or type(error).__name__}")
