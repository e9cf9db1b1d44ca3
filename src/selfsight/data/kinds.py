"""What kinds of image files there are, and the one format that a source of them is read in."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

log = logging.getLogger(__name__)

GREY_MODES = ("1", "L", "LA", "La", "F", "I")  # and all that begin with "I;16"
SAMPLE_FORMAT, BITS, PHOTOMETRIC, SAMPLES, PLANES, PREDICTOR = 339, 258, 262, 277, 284, 317  # tags of TIFF
UNSIGNED, SIGNED = 1, 2
WHITE_IS_ZERO = 0
FEW_COLOURED = 0.1  # a share of coloured images below which grey ones decide
DEPTHS = {"8": torch.uint8, "16": torch.uint16, "int": torch.int32, "wide": torch.int64, "float": torch.float32}
NAMES = {"8": "8 bits", "16": "16 bits", "int": "signed integers", "wide": "32-bit integers", "float": "floats"}


@dataclass(frozen=True)
class ImageFormat:
    """What every image of a source is converted to: 8-bit grey, RGB or RGBA, or grey of another type."""

    channels: int = 3
    dtype: torch.dtype = torch.uint8

    def __post_init__(self):
        known = (1, 3, 4) if self.dtype == torch.uint8 else (1, 3)
        if self.channels not in known:
            raise ValueError(
                f"image files of type {self.dtype} have {known} channels, not {self.channels}: use .npy arrays"
            )


@dataclass(frozen=True)
class Kind:
    """What one image file holds.

    depth: one of `DEPTHS`. transparent: whether any pixel is not opaque. notes: what of it is not read.
    """

    grey: bool
    depth: str = "8"
    transparent: bool = False
    notes: frozenset[str] = field(default=frozenset(), compare=False)


def kind_of(image: Image.Image) -> Kind:
    """The kind of an image that has just been opened."""
    deep = is_deep(image)
    grey = image.mode in GREY_MODES or image.mode.startswith("I;16")
    depth = depth_of(image)
    notes = set()
    raw = raw_mode(image)
    if (";16" in raw and not grey) or "LA;16" in raw or deep:
        notes.add("have 16 bits a channel in colour, of which the upper 8 are read")
    if (image.mode == "L" and "LX" in raw) or (image.mode == "RGB" and "RGBX" in raw):
        notes.add("have more samples a pixel than are read: convert them to .npy to keep all")
    if getattr(image, "is_animated", False):
        notes.add("have several frames or pages, of which the first is read")
        image.seek(0)
    profile = image.info.get("icc_profile") or b""
    if profile and b"sRGB" not in profile:
        notes.add("embed a colour profile (ICC) other than sRGB, which is not applied")
    return Kind(grey, depth, is_transparent(image), frozenset(notes))


def misread(image: Image.Image) -> str | None:
    """Why Pillow would answer other pixels than the file holds, or None."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    if tag(image, PLANES, 1) == 2 and tag(image, BITS, 8) > 8 and tag(image, SAMPLES, 1) > 1:
        return "it is a TIFF of more than 8 bits whose channels are apart"
    if tag(image, PREDICTOR, 1) == 3 and tags.prefix == b"MM":
        return "it is a TIFF of big-endian floats with a predictor"
    return None


def is_deep(image: Image.Image) -> bool:
    """Whether Pillow reads a coloured image of more than 8 bits, and keeps 8."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    size = jpeg2000_size(image) if image.format == "JPEG2000" else None
    if size is not None:
        return size[0] > 8
    tile = getattr(image, "tile", None)  # images made in memory have none
    return image.format == "PPM" and bool(tile) and tile[0][0] == "ppm" and tile[0][3][-1] > 255


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel is not opaque."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return False
    return bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


def depth_of(image: Image.Image) -> str:
    """The key in `DEPTHS` of an image."""
    if image.mode.startswith("I;16"):
        signed = image.format == "JPEG2000" and (jpeg2000_size(image) or (16, False))[1]
        return "int" if signed else "16"
    if image.mode == "I":
        if image.format in ("PNG", "PPM"):
            return "16"
        return "wide" if tag(image, SAMPLE_FORMAT, SIGNED) == UNSIGNED else "int"
    if image.mode == "L" and tag(image, SAMPLE_FORMAT, UNSIGNED) == SIGNED:
        return "int"
    return "float" if image.mode == "F" else "8"


def tag(image: Image.Image, number: int, otherwise: int) -> int:
    """A number among a TIFF's tags; `otherwise` for another format, or one that lacks it."""
    tags = getattr(image, "tag_v2", None)
    value = otherwise if tags is None else tags.get(number, UNSIGNED if number == SAMPLE_FORMAT else otherwise)
    return int(value[0] if isinstance(value, tuple) else value)


def raw_mode(image: Image.Image) -> str:
    """How the file stores its pixels, in Pillow's words, before it is loaded."""
    tile = getattr(image, "tile", None)  # an image made in memory has none
    if not tile:
        return ""
    arguments = tile[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def jpeg2000_size(image: Image.Image) -> tuple[int, bool] | None:
    """Bits a sample of a JPEG 2000 file, and whether it is signed; None where its header lacks them."""
    file = getattr(image, "fp", None)
    if file is None:
        return None
    place = file.tell()
    file.seek(0)
    head = file.read(2**16)
    file.seek(place)
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(head) < start + 43:
        return None
    coded = head[start + 42]
    return (coded & 0x7F) + 1, bool(coded & 0x80)


def common_format(kinds: Iterable[Kind], channels: int | None) -> ImageFormat:
    """The format that most images of these kinds have.

    Three channels, unless fewer than a tenth are coloured: then one. Four only where `channels`, which overrides
    the count, says so. Another type than 8-bit only for grey images: the type of most of them, wide enough for all
    whose numbers mean the same.
    """
    counts = Counter(kinds)
    total = counts.total()
    coloured = sum(count for kind, count in counts.items() if not kind.grey)
    if channels is None:
        channels = 3 if coloured >= FEW_COLOURED * total and coloured else 1
    depths = Counter({depth: 0 for depth in DEPTHS})
    for kind, count in counts.items():
        depths[kind.depth] += count
    plain, numbers = depths["8"] + depths["16"], depths["int"] + depths["wide"] + depths["float"]
    if numbers > plain:
        depth = "float" if depths["float"] else "wide" if depths["wide"] else "int"
    else:
        depth = "16" if depths["16"] > depths["8"] else "8"
    return ImageFormat(channels, DEPTHS[depth])


def say_kinds(name: str, kinds: list[Kind], form: ImageFormat, suggested: bool) -> None:
    """Log what reading all images in one format changes, with counts of those looked at.

    suggested: whether the images suggest the number of channels, which nobody asked for.
    """
    total = len(kinds)

    def say(count: int, what: str) -> None:
        if count:
            log.warning("%s: %d of %d images looked at %s", name, count, total, what)

    grey = sum(kind.grey for kind in kinds)
    transparent = sum(kind.transparent for kind in kinds)
    if suggested and 0 < grey < total:
        other = "1 to read all as grey" if form.channels == 3 else "3 to keep colours"
        read = "and all are read as RGB" if form.channels == 3 else "and all are read as grey, without colours"
        say(grey, f"are grey and {total - grey} coloured, {read}: set channels={other}")
    if form.channels != 4:
        kept = "the alpha channel is dropped and the colours kept as stored (channels=4 keeps it)"
        say(transparent, f"are transparent: {kept}")
    for depth, dtype in DEPTHS.items():
        count = sum(kind.depth == depth for kind in kinds)
        if dtype == form.dtype or not count:
            continue
        if depth in ("8", "16") and form.dtype in (torch.uint8, torch.uint16):
            bits = "8 bits" if form.dtype == torch.uint8 else "16 bits"
            say(count, f"have {NAMES[depth]}, and are read with {bits} as most are")
        elif not (depth in ("int", "wide") and form.dtype in (torch.int64, torch.float32)):
            say(count, f"hold {NAMES[depth]} and others do not: they cannot be read together, keep them apart")
    for note, count in Counter(note for kind in kinds for note in sorted(kind.notes)).items():
        say(count, note)
