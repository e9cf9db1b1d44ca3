"""What images hold, without decoding them: which are equal, and a digest of a whole data set.

Files are equal where all their bytes are, arrays where all their values are; the same picture in another format, or
encoded anew, is another one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from selfsight.data.decoding import UnreadableImage
from selfsight.data.labels import label_values
from selfsight.data.sources import Source, Stored

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

PIECE = 4096  # bytes from the middle of an image, which nearly always tell it from others of its size
THREADS = 16  # they wait for the disk
AT_ONCE = 256
MOST_DECODED = 50_000
MOST_BYTES = 256 * 2**20  # of arrays that `identity` reads
FEW = 32  # images whose bytes `identity` reads otherwise
MANY = 100_000


def equal_images(*sources: Source, across: bool = False) -> list[np.ndarray]:
    """A number for each image, `(N,)` int64 a source, the same for images of equal content and for no others.

    Sizes are compared first, then a piece of those whose sizes agree, then the whole of those that still do, so
    that few files are read whole. What cannot be read equals nothing. With `across`, only what the first source
    shares with the others is looked for.
    """
    stored = [source.stored(index) for source in sources for index in range(len(source))]
    if len(stored) > MANY:
        log.info("looking for equal images among %s", f"{len(stored):,}")
    things, sizes, numbers = apart(stored)
    first = np.zeros(len(things), dtype=bool)
    first[numbers[: len(sources[0])]] = True
    second = np.zeros(len(things), dtype=bool)
    second[numbers[len(sources[0]) :]] = True
    keys = number_keys(sizes)
    lone = np.array([size is None for size in sizes], dtype=bool)
    with ThreadPoolExecutor(THREADS if all(source.thread_safe for source in sources) else 1) as pool:
        for read in (piece_digest, whole_digest):
            shared = np.isin(keys, keys[first]) & np.isin(keys, keys[second])
            unsure = ~lone & (shared if across else np.bincount(keys)[keys] > 1)
            found = digests([things[place] for place in np.flatnonzero(unsure)], read, pool)
            refined: list[Hashable] = list(keys)
            for place, digest in zip(np.flatnonzero(unsure), found, strict=True):
                refined[place] = None if digest is None else (keys[place], digest)
                lone[place] = digest is None
            keys = number_keys(refined)
    return np.split(keys[numbers], np.cumsum([len(source) for source in sources])[:-1])


def apart(stored: Sequence[Stored]) -> tuple[list[Stored], list[Hashable], np.ndarray]:
    """What lies apart, the size of each, and for each image which of them it is; a file by several paths is one."""
    things: list[Stored] = []
    sizes: list[Hashable] = []
    numbers = np.empty(len(stored), dtype=np.int64)
    known: dict[tuple[int, int], int] = {}
    decoded = sum(callable(one) for one in stored)
    if decoded > MOST_DECODED:
        log.warning("equal images are not looked for: %s would have to be decoded", f"{decoded:,}")
    with ThreadPoolExecutor(THREADS) as pool:
        states = iter(in_chunks(file_state, [one for one in stored if isinstance(one, str)], pool))
    for place, one in enumerate(stored):
        if isinstance(one, str):
            state = next(states)
            if state is not None and state.st_ino and (state.st_dev, state.st_ino) in known:
                numbers[place] = known[state.st_dev, state.st_ino]
                continue
            if state is not None:
                known[state.st_dev, state.st_ino] = len(things)
            size: Hashable = None if state is None or state.st_size == 0 else state.st_size
        elif callable(one):
            size = None if decoded > MOST_DECODED else "decoded"
        elif isinstance(one, bytes):
            size = ("bytes", len(one))
        else:
            size = array_kind(one)
        numbers[place] = len(things)
        things.append(one)
        sizes.append(size)
    return things, sizes, numbers


def number_keys(keys: Sequence[Hashable]) -> np.ndarray:
    """Numbers `(N,)` int64 in the order of appearance, the same for equal keys; None equals nothing."""
    known: dict[Hashable, int] = {}
    return np.array(
        [known.setdefault((place,) if key is None else key, len(known)) for place, key in enumerate(keys)], np.int64
    )


def in_chunks(function: Callable[[In], Out], items: Sequence[In], pool: ThreadPoolExecutor) -> list[Out]:
    """`function` of each item, many to a thread."""
    chunks = (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
    return list(chain.from_iterable(pool.map(lambda chunk: [function(item) for item in chunk], chunks)))


def digests(things: Sequence[Stored], read: Callable[[Stored], bytes], pool: ThreadPoolExecutor) -> list[bytes | None]:
    """The digest of each, None where it cannot be read."""

    def digest(one: Stored) -> bytes | None:
        try:
            return read(one)
        except (OSError, UnreadableImage):  # it is named where it is decoded
            return None

    return in_chunks(digest, things, pool)


def file_state(path: str) -> os.stat_result | None:
    """Size and place of a file; None for what is none."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def array_kind(values: np.ndarray | Tensor) -> tuple[str, tuple[int, ...]]:
    """Type and shape of an array or a tensor."""
    return type_name(values.dtype), tuple(values.shape)


@cache
def type_name(dtype: Hashable) -> str:
    """The name of a type, the same in NumPy and in torch."""
    return str(dtype).removeprefix("torch.")


def piece_digest(one: Stored) -> bytes:
    """Digest of some bytes in the middle."""
    if isinstance(one, str):
        with open(one, "rb") as file:
            file.seek(max(0, (os.fstat(file.fileno()).st_size - PIECE) // 2))
            return short(file.read(PIECE))
    if isinstance(one, np.ndarray | Tensor):
        values, count = one.reshape(-1), max(1, PIECE // one.dtype.itemsize)
        start = max(0, (len(values) - count) // 2)
        return short(values_bytes(values[start : start + count]))
    return whole_digest(one)


def whole_digest(one: Stored) -> bytes:
    """Digest of all bytes of a file, or of all values."""
    if isinstance(one, str):
        with open(one, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    if isinstance(one, bytes):
        return short(one)
    return short(values_bytes(one() if callable(one) else one))


def values_bytes(values: np.ndarray | Tensor) -> bytes:
    """The values of an array or a tensor, as they lie in memory."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().contiguous().view(torch.uint8).numpy()
    return values.tobytes()


def short(contents: bytes) -> bytes:
    """A digest."""
    return hashlib.sha256(contents).digest()


def identity(source: Source) -> str:
    """A digest of which images there are, in what order, and of what is known of them.

    Of files: the paths below the folder that they share, which may have moved, all sizes, and the contents of 32.
    Of arrays: all values up to 256 MB, else those of as many images as that holds, evenly spread. Of other data sets:
    the pixels of 32, unless they come out different each time. Of metadata: every column.
    """
    count = len(source)
    digest = hashlib.sha256(str(count).encode())
    stored = [source.stored(index) for index in range(count)]
    paths = source.metadata["path"] if "path" in source.metadata else [one for one in stored if isinstance(one, str)]
    digest.update("\n".join(below_shared(list(map(str, paths)))).encode(errors="surrogateescape"))
    with ThreadPoolExecutor(THREADS) as pool:
        states = in_chunks(file_state, [one for one in stored if isinstance(one, str)], pool)
    digest.update(str([None if state is None else state.st_size for state in states]).encode())
    row = stored[0]
    most = MOST_BYTES // max(1, row.nbytes) if isinstance(row, np.ndarray | Tensor) else FEW
    sample = [stored[place] for place in np.linspace(0, count - 1, min(max(most, FEW), count)).astype(int)]
    if not any(callable(one) for one in sample) or read_alike(sample):
        for one in sample:
            digest.update(image_digest(one))
    for name in sorted(map(str, source.metadata.columns)):
        if name != "path":
            digest.update(name.encode(errors="surrogateescape"))
            digest.update(column_bytes(source, name))
    return digest.hexdigest()[:16]


def below_shared(paths: list[str]) -> list[str]:
    """The paths without the folder that they share."""
    if not paths:
        return []
    folders = [os.path.dirname(path) for path in paths]
    low, high = min(folders), max(folders)  # what they share, all share
    shared = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return [path[shared:] for path in paths]


def read_alike(sample: Sequence[Stored]) -> bool:
    """Whether images that are decoded are the same when decoded again, and not augmented at random."""
    return all(image_digest(one) == image_digest(one) for one in sample)


def image_digest(one: Stored) -> bytes:
    """A digest of what identifies an image: of three pieces of a long file, else of all of it."""
    try:
        if isinstance(one, str):
            if file_state(one) is None:  # a pipe would never end
                return b"unreadable"
            with open(one, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                pieces = []
                for start in sorted({0, max(0, (size - MANY) // 2), max(0, size - MANY)}):
                    file.seek(start)
                    pieces.append(file.read(MANY))
                return short(b"".join(pieces))
        kind = str(array_kind(one)).encode() if isinstance(one, np.ndarray | Tensor) else b""
        return kind + whole_digest(one)
    except (OSError, UnreadableImage):  # it is named where it is decoded
        return b"unreadable"


def column_bytes(source: Source, name: str) -> bytes:
    """A column of metadata as bytes; labels by the names of their classes, whose codes other parts may change."""
    column = label_values(source) if name == "label" else source.metadata[name]
    assert column is not None
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column.to_numpy().tobytes()
    return "\n".join(map(str, column)).encode(errors="surrogateescape")
