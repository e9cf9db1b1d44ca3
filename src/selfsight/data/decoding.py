"""From the bytes of a file to pixels, no larger than needed."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from selfsight.data.values import UnreadableImage

__all__ = ["ImageFormat", "UnreadableImage", "common_format", "decode", "resample", "shrink"]

LONGEST = 3  # the long side is kept below this many times the short side asked for
DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    RuntimeError,
    EOFError,
    IndexError,
    KeyError,
    Image.DecompressionBombError,
)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class ImageFormat:
    """What every image of a source is converted to: 8-bit grey, RGB or RGBA, 16-bit grey, or float grey."""

    channels: int = 3
    dtype: torch.dtype = torch.uint8

    def __post_init__(self):
        known = (1, 3, 4) if self.dtype == torch.uint8 else (1, 3)
        if self.channels not in known:
            raise ValueError(
                f"image files of type {self.dtype} have {known} channels, not {self.channels}: use .npy arrays"
            )


def kind_of(image: Image.Image) -> tuple[str, bool]:
    """PIL's mode of an image, and whether any of its pixels is not opaque."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image.mode, False
    return image.mode, bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())


def common_format(kinds: set[tuple[str, bool]], channels: int | None) -> ImageFormat:
    """The format that loses nothing of images of these kinds.

    All grey makes one channel, of 16 bits or floats only if all are; a transparent image makes
    four channels; everything else makes three. `channels` overrides the count.
    """
    modes = {mode for mode, _ in kinds}
    dtype = torch.uint8
    if modes <= set(DEEP_MODES):
        dtype = torch.uint16
    elif modes == {"F"}:
        dtype = torch.float32
    if channels is None:
        if modes <= {"1", "L", "F", *DEEP_MODES}:
            channels = 1
        else:
            channels = 4 if any(transparent for _, transparent in kinds) else 3
    return ImageFormat(channels, dtype)


def decode(data: bytes, form: ImageFormat, size: int | None = None) -> Tensor:
    """Pixels `(C, H, W)` of an encoded image, upright, shrunk to a short side of `size`.

    A JPEG that is more than twice too large is decoded without the detail that shrinking would
    remove. (torchvision decodes faster, but its decoders are deprecated.)
    """
    with Image.open(BytesIO(data)) as image:
        width, height = scaled_shape(image.size, size)
        target = (width, height) if _turned(image) else (height, width)
        image.draft(None, (width, height))
        ImageOps.exif_transpose(image, in_place=True)
        return resample(image_to_tensor(image, form), target)


def encoded_shape(path: str) -> tuple[int, int]:
    """Height and width of an image file, upright, mostly from its header."""
    with Image.open(path) as image:
        return (image.width, image.height) if _turned(image) else (image.height, image.width)


def _turned(image: Image.Image) -> bool:
    """Whether height and width are exchanged in the file; PIL has put those of a TIFF right by itself."""
    if image.format == "TIFF":
        image.load()
        return False
    return image.getexif().get(0x0112, 1) >= 5


def image_to_tensor(image: Image.Image, form: ImageFormat) -> Tensor:
    """A PIL image in another format, `(C, H, W)`."""
    if form.dtype == torch.uint8:
        if image.mode in DEEP_MODES:
            image = Image.fromarray((_deep_grey(image) >> 8).astype(np.uint8))
        if "transparency" in image.info:
            image = image.convert("RGBA")
        if image.mode != MODES[form.channels]:
            image = image.convert(MODES[form.channels])
        array = np.array(image)
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()
    if form.dtype == torch.float32:
        grey = np.array(image.convert("F"))
    elif image.mode in DEEP_MODES:
        grey = _deep_grey(image)
    else:
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return torch.from_numpy(np.repeat(grey[None], form.channels, axis=0))


def _deep_grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image).clip(0, 65535).astype(np.uint16)


def scaled_shape(shape: tuple[int, ...], size: int | None) -> tuple[int, ...]:
    """Sizes after shrinking, undistorted, to a short side of `size` and a long side of at most 3 times that."""
    if size is None:
        return tuple(shape)
    scale = min(1.0, size / min(shape), LONGEST * size / max(shape))
    return tuple(max(1, round(side * scale)) for side in shape)


def shrink(pixels: Tensor, size: int | None) -> Tensor:
    """Pixels `(C, *S)` at `scaled_shape`, without aliasing; never enlarged."""
    return resample(pixels, scaled_shape(tuple(pixels.shape[1:]), size))


def resample(pixels: Tensor, target: tuple[int, ...]) -> Tensor:
    """Pixels `(C, *S)` at smaller sizes `target`: anti-aliased bilinear in 2-D, means of boxes in 3-D."""
    if target == tuple(pixels.shape[1:]):
        return pixels
    flat = len(target) == 2
    native = flat and pixels.dtype in (torch.uint8, torch.float32, torch.float64)
    values = pixels[None] if native else pixels[None].to(torch.float32)
    if flat:
        small = F.interpolate(values, size=target, mode="bilinear", antialias=True)[0]
    else:
        small = F.adaptive_avg_pool3d(values, (target[0], target[1], target[2]))[0]
    if not native and not pixels.dtype.is_floating_point:
        small = small.round()
    return small.to(pixels.dtype)
