"""From the bytes of a file to pixels, no larger than needed."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from selfsight.data.kinds import (
    BITS,
    NAMES,
    PHOTOMETRIC,
    WHITE_IS_ZERO,
    ImageFormat,
    depth_of,
    jpeg2000_size,
    misread,
    tag,
)
from selfsight.data.values import UnreadableImage

__all__ = ["DECODE_ERRORS", "ImageFormat", "UnreadableImage", "decode", "encoded_shape", "resample", "shrink"]

LONGEST = 3  # the long side is kept below this many times the short side asked for
# what Pillow's readers raise for files that are cut short or written over, as their many authors chose
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    RuntimeError,
    EOFError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    struct.error,
    zlib.error,
)
DECODE_ERRORS = (*BROKEN, Image.DecompressionBombError)
PNG = b"\x89PNG\r\n\x1a\n"
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, form: ImageFormat, size: int | None = None) -> Tensor:
    """Pixels `(C, H, W)` of an encoded image, upright, shrunk to a short side of `size`.

    A JPEG that is more than twice too large is decoded without the detail that shrinking would
    remove. (torchvision decodes faster, but its decoders are deprecated.)
    """
    if data.startswith(PNG):
        check_sums(data)
    with Image.open(BytesIO(data)) as image:
        fault = misread(image)
        if fault is not None:
            raise ValueError(f"{fault}, which is read only where all images of the data are such: convert it")
        width, height = scaled_shape(image.size, size)
        turn = orientation(image)
        target = (width, height) if turn >= 5 else (height, width)
        image.draft(None, (width, height))
        pixels = image_to_tensor(image, form, turn)
        return resample(pixels, target)


def check_sums(data: bytes) -> None:
    """Refuse a PNG of which a byte of the pixels has changed: Pillow does not look at the sums that show it."""
    start, view = len(PNG), memoryview(data)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        whole = kind in (b"IDAT", b"fdAT") and end + 4 <= len(data)
        if whole and zlib.crc32(view[start + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ValueError("its bytes have changed since it was written: a sum of its pixels is wrong")
        start = end + 4


def encoded_shape(path: str) -> tuple[int, int]:
    """Height and width of an image file, upright, mostly from its header."""
    with Image.open(path) as image:
        return (image.width, image.height) if orientation(image) >= 5 else (image.height, image.width)


def orientation(image: Image.Image) -> int:
    """How the camera was held, from 1 to 8 as EXIF counts; 1 for a TIFF, which Pillow turns by itself."""
    if image.format == "TIFF":
        image.load()
        return 1
    try:
        found = image.getexif().get(0x0112, 1)
    except BROKEN:  # the pixels are whole where only the EXIF is not
        return 1
    return found if found in UPRIGHT else 1


def image_to_tensor(image: Image.Image, form: ImageFormat, turn: int | None = None) -> Tensor:
    """A PIL image in another format, upright, `(C, H, W)`. Raises `ValueError` where its numbers do not fit it."""
    turn = orientation(image) if turn is None else turn
    depth = depth_of(image)
    if depth != "8":
        check_depth(depth, form.dtype)
        values = numbers_of(image, depth)
        values = (values >> 8).astype(np.uint8) if form.dtype == torch.uint8 else values
        image = Image.fromarray(values) if form.dtype == torch.uint8 else image
        if form.dtype != torch.uint8:
            grey = torch.from_numpy(values).to(form.dtype)
            return upright(grey.expand(form.channels, *grey.shape), turn).contiguous()
    elif form.dtype not in (torch.uint8, torch.uint16):
        check_depth(depth, form.dtype)
    image.load()  # the mode of an icon is known only then
    if turn in UPRIGHT:
        image = image.transpose(UPRIGHT[turn])
    if form.dtype == torch.uint16:
        grey = torch.from_numpy(np.asarray(converted(image, "L")).astype(np.uint16) * 257)
        return grey.expand(form.channels, *grey.shape).contiguous()
    array = np.array(converted(image, MODES[form.channels]))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()


def converted(image: Image.Image, mode: str) -> Image.Image:
    """An image in another mode: alpha is dropped, and colours kept as they are stored."""
    if image.mode == "LAB":
        image = image.convert("RGB")
    elif image.mode in ("RGBa", "La"):
        image = image.convert({"RGBa": "RGBA", "La": "LA"}[image.mode])
    if "transparency" in image.info and mode != "L":
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def check_depth(depth: str, dtype: torch.dtype) -> None:
    """Refuse an image whose numbers do not fit the others'."""
    fits = {
        torch.uint8: ("8", "16"),
        torch.uint16: ("8", "16"),
        torch.int32: ("16", "int"),
        torch.int64: ("16", "int", "wide"),
        torch.float32: ("16", "int", "wide", "float"),
    }
    if depth not in fits[dtype]:
        raise ValueError(f"it holds {NAMES[depth]}, and the others {str(dtype).removeprefix('torch.')}")


def numbers_of(image: Image.Image, depth: str) -> np.ndarray:
    """The numbers `(H, W)` of a grey image that has not 8 bits, as its file holds them."""
    stored = jpeg2000_size(image) if image.format == "JPEG2000" else None
    inverted = depth == "16" and tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO
    highest = 2 ** tag(image, BITS, 16) - 1
    values = np.array(image)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if stored is not None:  # Pillow shifts them, to be unsigned and to fill 16 bits
        bits, signed = stored
        values = values.astype(np.int32) - 2**15 if signed else values
        return (values >> (16 - bits)).astype(np.int32 if signed else np.uint16)
    if depth == "int" and image.mode == "L":
        return values.view(np.int8).astype(np.int32)
    if depth == "wide":
        return values.view(np.uint32).astype(np.int64)
    if depth == "16":
        values = values.astype(np.uint16)
        return highest - values if inverted else values
    return values


def upright(pixels: Tensor, turn: int) -> Tensor:
    """Pixels `(C, H, W)` as they were seen by a camera held as EXIF says."""
    if turn >= 5:
        pixels = pixels.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(turn, ())
    return pixels.flip(flips) if flips else pixels


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
