"""Kinds 5 and 6: images in files, whole, broken and with metadata of any sort."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.random import Generator
from PIL import Image, ImageCms, PngImagePlugin

from hostile.case import BAD, Case, Expect, Raw, Reads, Trial, either, one_of, refused
from hostile.formats import Format, first, noise, saved, smooth
from hostile.table_of_formats import FORMATS

SIZES = {"33x17": (33, 17), "1x1": (1, 1), "2x90": (2, 90), "90x2": (90, 2), "64x64": (64, 64)}
SOUND = 2  # images beside the one that is tried


def put(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return name


def sound(folder: Path, form: Format, rng: Generator, size: tuple[int, int], count: int = SOUND) -> dict[str, Any]:
    """Some images of a format, and the answers."""
    answers = {}
    for number in range(count):
        data, answer = form.write(rng, *size)
        answers[put(folder, f"{number:02d}{form.suffix}", data)] = answer
    return answers


def lenient(reads: Reads) -> Expect:
    """Each image read rightly or named as bad, or all refused."""
    return either(Reads({key: one_of(answer, BAD) for key, answer in (reads.images or {}).items()}), refused())


def whole(form: Format, size: tuple[int, int]) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        answers = sound(folder, form, rng, size)
        return Trial(folder, lenient(Reads(answers)) if form.rare else Reads(answers))

    return build


# Faults: (bytes, rng) -> bytes. What is left of the image may be read where it is right all the same.


def cut(share: float) -> Callable[[bytes, Generator], bytes]:
    return lambda data, rng: data[: int(len(data) * share)]


def flipped(data: bytes, rng: Generator) -> bytes:
    """One bit of the pixels changed: only sums show it."""
    place = data.find(b"IDAT") + 6 if b"IDAT" in data else len(data) // 2
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


FAULTS: dict[str, tuple[Callable[[bytes, Generator], bytes], str]] = {
    "empty": (lambda data, rng: b"", "bad"),
    "magic-only": (lambda data, rng: data[:4], "bad"),
    "header-only": (lambda data, rng: data[:24], "maybe"),
    "tenth": (cut(0.1), "maybe"),
    "half": (cut(0.5), "maybe"),
    "most": (cut(0.93), "maybe"),
    "last-byte-gone": (lambda data, rng: data[:-1], "maybe"),
    "last-12-gone": (lambda data, rng: data[:-12], "maybe"),
    "zeros": (lambda data, rng: bytes(len(data)), "bad"),
    "noise": (lambda data, rng: rng.bytes(len(data)), "bad"),
    "text": (lambda data, rng: b"this is not an image\n" * 40, "bad"),
    "html": (lambda data, rng: b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "bad"),
    "lfs-pointer": (lambda data, rng: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "bad"),
    "tail-of-zeros": (lambda data, rng: data + bytes(1000), "maybe"),
    "tail-of-noise": (lambda data, rng: data + rng.bytes(1000), "maybe"),
    "twice": (lambda data, rng: data + data, "maybe"),
    "junk-before": (lambda data, rng: b"\r\n" + data, "maybe"),
    "without-returns": (lambda data, rng: data.replace(b"\r\n", b"\n"), "maybe"),
}


def broken(form: Format, fault: str, size: tuple[int, int]) -> Callable[[Path, Generator], Trial]:
    change, effect = (flipped, "bad") if fault == "flipped" else FAULTS[fault]

    def build(folder: Path, rng: Generator) -> Trial:
        answers = sound(folder, form, rng, size)
        data, answer = form.write(rng, *size)
        name = put(folder, f"50{form.suffix}", change(data, rng))
        answers[name] = BAD if effect == "bad" else one_of(BAD, answer)
        return Trial(folder, lenient(Reads(answers)) if form.rare else Reads(answers))

    return build


def misnamed(form: Format, suffix: str) -> Callable[[Path, Generator], Trial]:
    """An image under the suffix of another format: what it holds counts."""

    def build(folder: Path, rng: Generator) -> Trial:
        data, answer = form.write(rng, 20, 14)
        other, right = form.write(rng, 20, 14)
        return Trial(
            folder, Reads({put(folder, f"a{suffix}", data): answer, put(folder, f"b{form.suffix}", other): right})
        )

    return build


# Orientation.

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def turned(suffix: str, orientation: int, size: tuple[int, int]) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = noise(rng, (*size, 3))
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = TURNS.get(orientation, TURNS[1])(array)
        if suffix == ".tif":
            stream = io.BytesIO()
            tifffile.imwrite(stream, array, photometric="rgb", metadata=None, extratags=[(274, "H", 1, orientation)])
            data, answer = stream.getvalue(), first(upright)
        elif suffix == ".jpg":
            array = smooth(rng, *size, 3)
            data = saved(Image.fromarray(array), "JPEG", quality=98, subsampling=0, exif=exif)
            answer = Raw(first(TURNS.get(orientation, TURNS[1])(array)), 12)
        else:
            kind, options = {".png": ("PNG", {}), ".webp": ("WEBP", {"lossless": True})}[suffix]
            data, answer = saved(Image.fromarray(array), kind, exif=exif, **options), first(upright)
        return Trial(folder, Reads({put(folder, f"a{suffix}", data): answer}))

    return build


# Metadata.


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes, sums: bool = True) -> Callable[[np.ndarray], bytes]:
    def make(array: np.ndarray) -> bytes:
        data, chunk = saved(Image.fromarray(array), "PNG"), png_chunk(kind, body)
        return data[:33] + (chunk if sums else chunk[:-4] + b"\0\0\0\0") + data[33:]

    return make


def png_with(**options: Any) -> Callable[[np.ndarray], bytes]:
    return lambda array: saved(Image.fromarray(array), "PNG", **options)


def text_chunks(array: np.ndarray) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number in range(200):
        info.add_text(f"key{number}", "värde\n" * 20)
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta><not closed")
    return saved(Image.fromarray(array), "PNG", pnginfo=info)


BOMB = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
PNG_METADATA: dict[str, tuple[Callable[[np.ndarray], bytes], bool]] = {  # whether it may be named as bad as well
    "exif-noise": (with_chunk(b"eXIf", b"II*\0\xff\xff\xff\xffnonsense"), False),
    "exif-empty": (with_chunk(b"eXIf", b""), False),
    "exif-loop": (with_chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"), False),
    "exif-orientation-text": (
        with_chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0x\0\0\0\0\0\0\0"),
        False,
    ),
    "exif-orientation-9": (
        with_chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0"),
        False,
    ),
    "text-chunks": (text_chunks, False),
    "text-bomb": (with_chunk(b"zTXt", BOMB), True),
    "text-broken": (with_chunk(b"zTXt", b"key\0\0not zlib"), True),
    "text-sum-wrong": (with_chunk(b"tEXt", b"key\0value", sums=False), True),
    "private-chunk": (with_chunk(b"prVt", bytes(5000)), False),
    "gamma": (with_chunk(b"gAMA", struct.pack(">I", 45455)), False),
    "gamma-zero": (with_chunk(b"gAMA", bytes(4)), False),
    "gamma-short": (with_chunk(b"gAMA", b"\0"), True),
    "size-zero-dpi": (png_with(dpi=(0, 0)), False),
    "icc-noise": (png_with(icc_profile=b"nonsense" * 20), False),
    "icc-srgb": (png_with(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), False),
    "transparent-colour": (png_with(transparency=(1, 2, 3)), False),
    "time-wrong": (with_chunk(b"tIME", b"\xff" * 7), False),
    "animation-of-none": (with_chunk(b"acTL", bytes(8)), True),
    "animation-short": (with_chunk(b"acTL", b"\0"), True),
}


def with_metadata(name: str) -> Callable[[Path, Generator], Trial]:
    make, lenient = PNG_METADATA[name]

    def build(folder: Path, rng: Generator) -> Trial:
        answers = {}
        for key in ("a.png", "b.png"):
            array = noise(rng, (19, 23, 3)) | 4  # nowhere the transparent colour
            put(folder, key, make(array) if key == "b.png" else saved(Image.fromarray(array), "PNG"))
            answers[key] = one_of(first(array), BAD) if lenient and key == "b.png" else first(array)
        return Trial(folder, Reads(answers))

    return build


def jpeg_segment(marker: int, body: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


JPEG_METADATA: dict[str, Callable[[bytes], bytes]] = {
    "exif-noise": jpeg_segment(0xE1, b"Exif\0\0nonsense nonsense"),
    "exif-empty": jpeg_segment(0xE1, b"Exif\0\0"),
    "exif-short": jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x20\0"),
    "exif-loop": jpeg_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"),
    "exif-orientation-float": jpeg_segment(
        0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\x0b\0\0\0\1\x40\xc0\0\0\0\0\0\0"
    ),
    "exif-orientation-many": jpeg_segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\2\0\1\0\1\0\0\0\0"),
    "xmp-noise": jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\xfe"),
    "comment": jpeg_segment(0xFE, b"\xff\xd8 a comment \xff\xd9 with marks"),
    "icc-part-2-of-3": jpeg_segment(0xE2, b"ICC_PROFILE\0\x02\x03" + bytes(100)),
    "icc-noise": jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"nonsense" * 30),
    "photoshop-short": jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"),
    "mpf-noise": jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
    "thumbnail": jpeg_segment(0xE0, b"JFXX\0\x10" + saved(Image.new("RGB", (8, 8)), "JPEG")),
    "filled": lambda data: data[:2] + b"\xff" * 50 + data[2:],
}


def jpeg_with(name: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = smooth(rng, 24, 40, 3)
        data = saved(Image.fromarray(array), "JPEG", quality=98, subsampling=0)
        put(folder, "a.jpg", data)
        put(folder, "b.jpg", JPEG_METADATA[name](data))
        right = one_of(Raw(first(array), 12), BAD)
        if name == "exif-orientation-float":  # 6, as a float
            right = one_of(Raw(first(array), 12), Raw(first(np.rot90(array, -1)), 12), BAD)
        return Trial(folder, Reads({"a.jpg": Raw(first(array), 12), "b.jpg": right}))

    return build


# Sizes that a header only claims.

CLAIMS: dict[str, Callable[[int, int], tuple[str, bytes]]] = {
    "png": lambda h, w: ("x.png", b"\x89PNG\r\n\x1a\n"
                         + png_chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
                         + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")),
    "bmp": lambda h, w: ("x.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, w, h, 1, 24, *[0] * 6)
                         + bytes(100)),
    "gif": lambda h, w: ("x.gif", b"GIF89a" + struct.pack("<HHBBB", w % 65536, h % 65536, 0x80, 0, 0) + bytes(6) + b","
                         + struct.pack("<HHHHB", 0, 0, w % 65536, h % 65536, 0) + b"\x02\x02\x44\x01\0;"),
    "ppm": lambda h, w: ("x.ppm", f"P6 {w} {h} 255\n".encode() + bytes(100)),
    "tga": lambda h, w: ("x.tga", bytes(2) + b"\x02" + bytes(9) + struct.pack("<HH", w % 65536, h % 65536) + b"\x18\0"
                         + bytes(100)),
}  # fmt: skip
CLAIMED = {
    "0x0": (0, 0),
    "0x5": (0, 5),
    "60000x60000": (60000, 60000),
    "2000000000x2": (2_000_000_000, 2),
    "9x40000": (9, 40000),
}


def claiming(kind: str, size: str) -> Callable[[Path, Generator], Trial]:
    def build(folder: Path, rng: Generator) -> Trial:
        array = noise(rng, (9, 9, 3))
        put(folder, "a.png", saved(Image.fromarray(array), "PNG"))
        name, data = CLAIMS[kind](*CLAIMED[size])
        return Trial(folder, Reads({"a.png": first(array), put(folder, name, data): BAD}))

    return build


def cases() -> Iterator[Case]:
    for form in FORMATS:
        for name, size in SIZES.items():
            yield Case(f"images/{form.name}/{name}", 5, whole(form, size))
        common = not form.name.startswith("tif-") or form.name in ("tif-uint8-little", "tif-uint16-big", "tif-strips")
        common = common or form.name.endswith(("lzw", "uint8-deflate", "tiles", "bigtiff", "5-contig"))
        faults = [*FAULTS, *(["flipped"] if form.loud else [])] if common and form.suffix != ".apng" else []
        for fault in faults if form.loud else [fault for fault in faults if fault != "without-returns"]:
            yield Case(f"images/{form.name}/{fault}", 5, broken(form, fault, (33, 17)))
        if form.name in ("png-RGB", "jpg-444", "gif-P", "webp-RGB", "bmp-RGB", "tif-strips", "qoi-RGB"):
            for suffix in (".png", ".jpg", ".gif", ".webp", ".bmp", ".tif", ".JPG", ".Jpeg", ".PNG"):
                yield Case(f"images/{form.name}/named{suffix}", 4, misnamed(form, suffix))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        for orientation in range(11):
            for name in ("33x17", "2x90"):
                yield Case(f"images/turned{suffix}/{orientation}/{name}", 5, turned(suffix, orientation, SIZES[name]))
    for name in PNG_METADATA:
        yield Case(f"images/png-metadata/{name}", 5, with_metadata(name))
    for name in JPEG_METADATA:
        yield Case(f"images/jpg-metadata/{name}", 5, jpeg_with(name))
    for kind in CLAIMS:
        for size in CLAIMED:
            yield Case(f"images/claims/{kind}/{size}", 5, claiming(kind, size))
