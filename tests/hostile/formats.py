"""Images in every format, mode and depth, with the pixels that an independent writer put into them or an independent
reader (OpenCV, imagecodecs, tifffile, NumPy) finds in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image

from hostile.case import Raw, Unit, one_of


@dataclass(frozen=True)
class Format:
    """write(rng, height, width) -> (bytes, the right answer).

    loud: its bytes carry sums, so that a changed one shows. rare: it may be refused as well.
    """

    name: str
    suffix: str
    write: Callable[[Generator, int, int], tuple[bytes, Any]]
    loud: bool = False
    rare: bool = False


def noise(rng: Generator, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    """Values all over the range of a type; floats in [0, 1]."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.random(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, endpoint=True, dtype=dtype)


def smooth(rng: Generator, height: int, width: int, channels: int) -> np.ndarray:
    """A picture that survives a lossy coder."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width, 2)
    waves = [128 + 100 * np.sin(3 * x * rng.random() + 4 * y * rng.random() + c) for c in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


def first(array: np.ndarray) -> np.ndarray:
    """Channels first: `(H, W)` or `(H, W, C)` to `(C, H, W)`."""
    return array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)


def transparent(rgba: np.ndarray, within: float = 0) -> Any:
    """What may become of an image with alpha `(H, W, 4)`: kept, dropped, or composed over white or black."""
    colour, alpha = rgba[..., :3].astype(np.float64), rgba[..., 3:].astype(np.float64) / 255
    over = [Raw(first(colour * alpha + ground * (1 - alpha)), 1.0 + within) for ground in (0, 255, 128)]
    kept = Raw(first(rgba), within)
    hidden = rgba.copy()
    hidden[rgba[..., 3] == 0] = 0  # what cannot be seen may be anything, such as black
    return one_of(kept, Raw(first(rgba[..., :3]), within), Raw(first(hidden), within), *over)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(kind: str, mode: str, **options: Any) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """Written by Pillow without loss; the answer is what went in."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        if mode == "1":
            array = noise(rng, (height, width), bool)
            return saved(Image.fromarray(array), kind, **options), Unit(first(array))
        if mode == "P":
            index, colours = rng.integers(0, 16, (height, width), dtype=np.uint8), noise(rng, (16, 3))
            image = Image.fromarray(index, "P")
            image.putpalette(colours.tobytes())
            return saved(image, kind, **options), first(colours[index])
        if mode == "P+alpha":
            index, colours = rng.integers(0, 8, (height, width), dtype=np.uint8), noise(rng, (8, 3))
            image = Image.fromarray(index, "P")
            image.putpalette(colours.tobytes())
            alpha = np.where(index == 3, 0, 255).astype(np.uint8)
            rgba = np.dstack([colours[index], alpha])
            return saved(image, kind, transparency=3, **options), transparent(rgba)
        channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
        array = noise(rng, (height, width, *channels))
        data = saved(Image.fromarray(array, mode), kind, **options)
        if mode == "RGBA":
            return data, transparent(array)
        if mode == "LA":
            rgba = np.dstack([array[..., 0]] * 3 + [array[..., 1]])
            return data, one_of(transparent(rgba), first(array))
        return data, first(array)

    return write


def jpeg(channels: int, **options: Any) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """A JPEG by Pillow; the answer is OpenCV's."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        array = smooth(rng, height, width, channels)
        data = saved(Image.fromarray(array[..., 0] if channels == 1 else array), "JPEG", **options)
        flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
        read = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
        return data, Raw(first(read if channels == 1 else read[..., ::-1]), 3)

    return write


def cmyk(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
    """Inks in Adobe's inverted manner, as Pillow and Photoshop write them."""
    inks = smooth(rng, height, width, 4)
    inks[..., 3] //= 3
    data = saved(Image.frombytes("CMYK", (width, height), inks.tobytes()), "JPEG", quality=95, subsampling=0)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return data, Raw(first(read[..., ::-1]), 4)


def deep_png(channels: int) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """16 bits; colours may be read with 8 of them."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        array = noise(rng, (height, width, channels), np.uint16)
        data = imagecodecs.png_encode(array[..., 0] if channels == 1 else array)
        pixels = first(array)
        if channels in (1, 3):
            return data, pixels if channels == 1 else one_of(Raw(pixels), Unit(pixels / 65535))
        grey = channels == 2
        rgba = np.dstack([array[..., 0]] * 3 + [array[..., 1]]) if grey else array
        return data, one_of(
            Unit(pixels / 65535), *(Unit(one.pixels / 255) for one in transparent(rgba / 257.0).answers)
        )

    return write


def jpeg2000(
    channels: int, dtype: Any = np.uint8, codec: str = "jp2"
) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        array = noise(rng, (height, width) if channels == 1 else (height, width, channels), dtype)
        data = imagecodecs.jpeg2k_encode(array, reversible=True, codecformat=codec)
        high = np.iinfo(dtype).max
        return data, one_of(Raw(first(array)), Unit(first(array) / high)) if channels < 4 else transparent(array)

    return write


def webp(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
    data = saved(Image.fromarray(smooth(rng, height, width, 3)), "WEBP", quality=90)
    return data, Raw(first(imagecodecs.webp_decode(data)[..., :3]), 3)


def avif(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
    data = saved(Image.fromarray(smooth(rng, height, width, 3)), "AVIF", quality=95)
    return data, Raw(first(imagecodecs.avif_decode(data)[..., :3]), 6)


def animated(kind: str) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """Three frames; the first is the image."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        frames = [np.broadcast_to(noise(rng, (1, 1, 3)), (height, width, 3)).copy() for _ in range(3)]
        images = [Image.fromarray(frame) for frame in frames]
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(images[0], kind, save_all=True, append_images=images[1:], **options)
        return data, Raw(first(frames[0]), 1 if kind == "WEBP" else 0)

    return write


def pnm(magic: str, high: int = 255) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """Netpbm, in text (P1 to P3) or bytes (P4 to P6), of up to 16 bits."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        if magic in ("P1", "P4"):
            array = noise(rng, (height, width), bool)
            body = (
                np.packbits(array, axis=1).tobytes()
                if magic == "P4"
                else " ".join(map(str, array.ravel() * 1)).encode()
            )
            return f"{magic}\n{width} {height}\n".encode() + body, Unit(first(~array))  # 1 is black
        shape = (height, width, 3) if magic in ("P3", "P6") else (height, width)
        array = rng.integers(0, high, shape, endpoint=True)
        if magic in ("P2", "P3"):
            body = " ".join(map(str, array.ravel())).encode() + b"\n"
        else:
            body = array.astype(np.uint8 if high < 256 else ">u2").tobytes()
        data = f"{magic}\n# made\n{width} {height}\n{high}\n".encode() + body
        if high == 255:
            return data, first(array)
        return data, one_of(Raw(first(array)), Unit(first(array) / high))

    return write


def pfm(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
    array = noise(rng, (height, width), np.float32)
    return f"Pf\n{width} {height}\n-1.0\n".encode() + array[::-1].astype("<f4").tobytes(), first(array)


def tiff(dtype: Any, samples: int = 1, **options: Any) -> Callable[[Generator, int, int], tuple[bytes, Any]]:
    """A TIFF by tifffile; the answer is what went in."""

    def write(rng: Generator, height: int, width: int) -> tuple[bytes, Any]:
        planar = options.get("planarconfig") == "separate"
        shape = (height, width) if samples == 1 else (samples, height, width) if planar else (height, width, samples)
        array = noise(rng, shape, dtype)
        keywords = {"photometric": "rgb" if samples in (3, 4) else "minisblack", "metadata": None, **options}
        if samples == 4:
            keywords["extrasamples"] = ["unassalpha"]
        elif samples not in (1, 3):
            keywords["extrasamples"] = ["unspecified"] * (samples - 1)
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **keywords)
        return stream.getvalue(), tiff_answer(array if planar or samples == 1 else np.moveaxis(array, -1, 0), options)

    return write


def tiff_answer(pixels: np.ndarray, options: dict[str, Any]) -> Any:
    """What may be read of what tifffile wrote, channels first."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.dtype == bool:
        return one_of(Unit(pixels), Unit(~pixels)) if options.get("photometric") == "miniswhite" else Unit(pixels)
    answers: list[Any] = [Raw(pixels)]
    if pixels.dtype.kind == "f":
        answers.append(Raw(pixels, 1e-6))
    if pixels.dtype == np.uint16:
        answers.append(Unit(pixels / 65535))
    if options.get("photometric") == "miniswhite":
        answers.append(Raw(np.iinfo(pixels.dtype).max - pixels))
    if len(pixels) in (2, 4) and pixels.dtype in (np.uint8, np.uint16):
        share = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max * 255
        rgba = np.moveaxis(share, 0, -1) if len(pixels) == 4 else np.dstack([share[0]] * 3 + [share[1]])
        answers += [Unit(one.pixels / 255) for one in transparent(rgba).answers]
    return one_of(*answers)
