"""TIFFs that Pillow does not read: many samples a pixel, floats in colour, 64 bits. `tifffile` reads them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from struct import error
from typing import Any

from PIL import TiffImagePlugin
from torch import Tensor

from selfsight.data.arrays import as_channels_first
from selfsight.data.kinds import BITS, SAMPLE_FORMAT, SAMPLES

FORMATS = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def described(path: str) -> str | None:
    """What a TIFF holds, in words; None for a file that is none, or broken."""
    unread = (SyntaxError, OSError, ValueError, LookupError, TypeError, error)
    with open(path, "rb") as file, suppress(*unread), warnings.catch_warnings(action="ignore"):
        head = file.read(8)
        if not head.startswith(MAGIC):
            return None
        tags = TiffImagePlugin.ImageFileDirectory_v2(head + (file.read(8) if head[2:4] in (b"+\0", b"\0+") else b""))
        file.seek(tags.next)
        tags.load(file)
        samples, bits = tags.get(SAMPLES, 1), tags.get(BITS, (1,))
        kind = FORMATS.get(tags.get(SAMPLE_FORMAT, (1,))[0], "numbers of another sort")
        return f"a TIFF of {samples} samples a pixel of {bits[0]} bits, {kind}"
    return None


def read_tiff(path: str) -> tuple[Tensor, bool]:
    """The first page `(C, H, W)` of a TIFF as it is stored, and whether there are more.

    Raises:
        ValueError: where it cannot be read, with what would do.
    """
    tifffile = library()
    if tifffile is None:
        raise ValueError(
            f"{described(path) or 'a TIFF'}, which needs tifffile: pip install tifffile, or convert to .npy"
        )
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        axes, several = page.axes, len(file.pages) > 1
        try:
            array = page.asarray()
        except KeyError as unknown:
            raise ValueError(f"{unknown.args[0]}: convert it to .npy") from unknown
    if sorted(axes) == ["X", "Y"]:
        return as_channels_first(array, None), several
    if sorted(axes) != ["S", "X", "Y"]:
        raise ValueError(f"{described(path)} has axes {axes}, and not those of an image: convert it to .npy")
    return as_channels_first(array, axes.index("S")), several


def library() -> Any:
    """`tifffile` where it is installed, else None."""
    try:
        import tifffile
    except ImportError:
        return None
    return tifffile
