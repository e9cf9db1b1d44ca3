"""From the bytes of a file to pixels, no larger than needed."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

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


class UnreadableImage(ValueError):
    """An image that cannot be decoded; lanes name it and go on."""


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
    return image.mode, image.convert("RGBA").getchannel("A").getextrema()[0] < 255


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

    torchvision decodes a JPEG in half the time of PIL, but PIL can skip detail while decoding,
    which is faster where the image is at least twice too large.
    """
    if data[:3] == b"\xff\xd8\xff" and form.dtype == torch.uint8 and form.channels < 4 and not _much_larger(data, size):
        mode = ImageReadMode.GRAY if form.channels == 1 else ImageReadMode.RGB
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        try:
            pixels = decode_jpeg(encoded, mode, apply_exif_orientation=True)
            assert isinstance(pixels, Tensor)
            return shrink(pixels, size)
        except RuntimeError:
            pass  # a flavour that torchvision does not know, or a broken file: PIL decodes it or says what is wrong
    with Image.open(BytesIO(data)) as image:
        if size is not None:
            width, height = scaled_shape(image.size, size)
            image.draft(None, (width, height))
        return shrink(image_to_tensor(ImageOps.exif_transpose(image), form), size)


def encoded_shape(path: str) -> tuple[int, int]:
    """Height and width of an image file, upright, from its header."""
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def _much_larger(data: bytes, size: int | None) -> bool:
    if size is None:
        return False
    with Image.open(BytesIO(data)) as image:
        return min(image.size) >= 2 * min(scaled_shape(image.size, size))


def image_to_tensor(image: Image.Image, form: ImageFormat) -> Tensor:
    """A PIL image in another format, `(C, H, W)`."""
    if form.dtype == torch.uint8:
        if image.mode in DEEP_MODES:
            image = Image.fromarray((_deep_grey(image) >> 8).astype(np.uint8))
        if "transparency" in image.info:
            image = image.convert("RGBA")
        array = np.array(image.convert(MODES[form.channels]))
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
    target = scaled_shape(tuple(pixels.shape[1:]), size)
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
