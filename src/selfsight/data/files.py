"""Images in files: what folders and tables have in common."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from selfsight.data.arrays import as_channels_first, channel_axis, only_array
from selfsight.data.decoding import DECODE_ERRORS, UnreadableImage, decode, encoded_shape, shrink
from selfsight.data.kinds import SAMPLES, ImageFormat, Kind, common_format, kind_of, misread, say_kinds, tag
from selfsight.data.sources import Source, Stored, range_of
from selfsight.data.tiff import described, read_tiff
from selfsight.data.values import full_range
from selfsight.naming import printable

log = logging.getLogger(__name__)

# formats that hold more than pixels, or need another program
NO_IMAGES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
IMAGE_SUFFIXES = tuple(
    sorted(
        suffix
        for suffix, form in Image.registered_extensions().items()
        if (form in Image.OPEN or form == "MPO") and form not in NO_IMAGES
    )
)
SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
EXPECTED = ".jpg, .png, .tif and whatever else Pillow opens, or .npy"
LOOKED_AT = 256
LOOKED_AT_CLOSELY = 32  # where arrays are large
LOOK_BYTES = 2**29  # of arrays, whose range is looked for


class FileSource(Source):
    """One file an image: any that Pillow opens, or a `.npy` array.

    Channels and depth follow from a seeded look at 256 files (see `common_format`; arrays as in
    `channel_axis`); any other image is converted to them. `channels` overrides their count. Where all of them
    are TIFFs that only tifffile reads, they are arrays, too.
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
        arrays = sum(is_npy(path) for path in paths)
        self.arrays = arrays > 0
        if 0 < arrays < len(paths):
            raise ValueError(
                f"{name} mixes .npy arrays with image files, {arrays:,} and {len(paths) - arrays:,}: keep them apart, "
                "or name those of one kind in a table"
            )
        if not self.arrays:
            self.arrays = self._only_tifffile_reads()
        look = self._look_at_arrays if self.arrays else self._look_at_images
        form, value_range = look(name, channels)
        self.form = form
        super().__init__(
            metadata, name=name, channels=form.channels, dtype=form.dtype, value_range=value_range, classes=classes
        )

    def _read(self, index: int, size: int | None) -> Tensor:
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
        pixels, _ = load_array(path, self.form.channels)
        if pixels.shape[0] != self.form.channels or pixels.dtype != self.form.dtype:
            raise ValueError(
                f"has {pixels.shape[0]} channels of {pixels.dtype}, "
                f"the others {self.form.channels} of {self.form.dtype}"
            )
        if pixels.ndim != self.ndim:
            raise ValueError(f"has {pixels.ndim - 1} axes, the others {self.ndim - 1}")
        return pixels

    def _only_tifffile_reads(self) -> bool:
        """Whether the first readable file is a TIFF that Pillow does not read."""
        if not any(path.lower().endswith((".tif", ".tiff")) for path in self.paths[:LOOKED_AT]):
            return False

        def load(path: str) -> bool:
            try:
                _open_kind(path)
            except UnidentifiedImageError:
                load_array(path)
                return True
            return False

        try:
            return next(self._readable("", 1, load))[1]
        except ValueError:
            return False  # said where they are looked at

    def _look_at_images(self, name: str, channels: int | None) -> tuple[ImageFormat, tuple[float, float]]:
        kinds = [kind for _, kind in self._readable(name, LOOKED_AT, _open_kind)]
        form = common_format(kinds, channels)
        say_kinds(name, kinds, form, channels is None)
        sample = ()
        if full_range(form.dtype) is None:
            sample = self._readable(name, LOOKED_AT, lambda path: decode(Path(path).read_bytes(), form))
        return form, range_of(form.dtype, (pixels for _, pixels in sample))

    def _look_at_arrays(self, name: str, channels: int | None) -> tuple[ImageFormat, tuple[float, float]]:
        _, (first, several) = next(self._readable(name, 1, lambda path: load_array(path, channels)))
        if channels is not None and len(first) != channels:
            raise ValueError(f"{name} has images of {len(first)} channels, and channels is {channels}: leave it out")
        if several:
            log.warning("%s: TIFFs have several pages, of which the first is read", name)
        most = max(LOOKED_AT_CLOSELY, min(LOOKED_AT, LOOK_BYTES // (first.numel() * first.element_size())))
        self.ndim = first.ndim
        form = ArrayFormat(first.shape[0], first.dtype)
        sample = () if full_range(first.dtype) else self._readable(name, most, lambda path: load_array(path, channels))
        return form, range_of(first.dtype, (pixels for _, (pixels, _) in sample if pixels.dtype == first.dtype))

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


def is_npy(path: str) -> bool:
    """Whether a name is that of an array."""
    return path.lower().endswith(".npy")


def load_array(path: str, channels: int | None = None) -> tuple[Tensor, bool]:
    """The image `(C, *S)` of a `.npy` file, or of a TIFF as `read_tiff` has it, and whether there are more in it."""
    if not is_npy(path):
        return read_tiff(path)
    try:
        array = only_array(np.load(path, allow_pickle=False))
    except MemoryError as error:
        raise ValueError("it claims to be larger than the memory") from error
    return as_channels_first(array, channel_axis(array.shape, channels, of="it")), False


def _open_kind(path: str) -> Kind:
    with Image.open(path) as image:
        if image.mode in ("F", "I") and tag(image, SAMPLES, 1) > 1:  # Pillow opens it, and fails to load it
            raise UnidentifiedImageError(f"cannot identify image file {path!r}")
        fault = misread(image)
        if fault is not None:
            raise UnidentifiedImageError(fault)
        return kind_of(image)


def _unreadable(path: str, error: BaseException) -> UnreadableImage:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        reason = "the file is empty"
    elif isinstance(error, UnidentifiedImageError):
        tiff = described(path)
        fix = "convert it to .npy, or pip install tifffile where all files are such"
        reason = "this is not an image" if tiff is None else f"{tiff}, which Pillow does not read: {fix}"
    else:
        reason = str(error)
    return UnreadableImage(f"{printable(path)}: {reason or type(error).__name__}")
