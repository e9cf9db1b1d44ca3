"""The resident lane: what fits is decoded once and stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.data.canvas import Canvas
from selfsight.data.checks import BadImages
from selfsight.data.decoding import UnreadableImage, scaled_shape
from selfsight.data.lane import Lane, gather_rows, make_canvas, share_canvases
from selfsight.data.sources import Source

SLAB = 64 * 2**20  # bytes
AHEAD = 64  # images decoded before they are copied


class FlatBuffer:
    """Arrays of one type end to end in one tensor, collected without ever holding them twice.

    They gather in slabs, which move one by one into the final tensor: pages of it come into
    being as they are written and those of a slab go as it is dropped, so that memory peaks one
    slab above the data. With `storage` they go to a file, which is mapped.
    """

    def __init__(self, dtype: torch.dtype, storage: str | Path | None = None):
        self.dtype = dtype
        self.storage = storage
        self.file = open(storage, "wb") if storage is not None else None  # noqa: SIM115 (closed in `finish`)
        self.slabs: list[Tensor] = []
        self.used = 0  # of the last slab
        self.total = 0

    def append(self, array: Tensor) -> None:
        """Add an array at the end."""
        assert array.dtype == self.dtype
        flat = array.contiguous().view(-1)
        self.total += len(flat)
        if self.file is not None:
            flat.numpy().tofile(self.file)
            return
        if not self.slabs or self.used + len(flat) > len(self.slabs[-1]):
            self._close_slab()
            self.slabs.append(torch.empty(max(len(flat), SLAB // self.dtype.itemsize), dtype=self.dtype))
            self.used = 0
        self.slabs[-1][self.used : self.used + len(flat)] = flat
        self.used += len(flat)

    def _close_slab(self) -> None:
        if self.slabs:
            self.slabs[-1] = self.slabs[-1][: self.used]

    def finish(self, device: torch.device | str = "cpu") -> Tensor:
        """The arrays `(total,)`, on a device."""
        if self.file is not None:
            self.file.close()
            return torch.from_file(str(self.storage), shared=True, size=self.total, dtype=self.dtype).to(device)
        self._close_slab()
        whole = torch.empty(self.total, dtype=self.dtype, device=device)
        start = 0
        self.slabs.reverse()
        while self.slabs:
            slab = self.slabs.pop()
            whole[start : start + len(slab)] = slab
            start += len(slab)
        return whole


class ResidentLane(Lane):
    """Every image decoded once, by threads, into one flat buffer; padded only within a batch.

    size: images with a longer short side are stored shrunk to it. device: where the buffer lies
    and batches come from. storage: a file to map instead of memory; it is written anew.
    Unreadable images are left out; `index` still counts in the source.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        size: int | None = None,
        device: torch.device | str = "cpu",
        threads: int | None = None,
        storage: str | Path | None = None,
        bad: BadImages | None = None,
        **options: Any,
    ):
        bad = BadImages() if bad is None else bad
        self.size = size
        self.device = torch.device(device)
        members, shapes, flat = _decode_all(source, size, self.device, threads, storage, bad)
        super().__init__(source, batch_size, members=members, bad=bad, **options)
        self.columns = {name: column[torch.from_numpy(members)].to(self.device) for name, column in self.columns.items()}
        self.shapes = shapes
        self.flat = flat
        self.index = torch.from_numpy(members).to(self.device)
        self.uniform = len(set(shapes)) == 1
        if self.uniform:
            self.pixels = flat if flat.ndim > 1 else flat.view(len(shapes), *shapes[0])
        else:
            self.offsets = np.concatenate([[0], np.cumsum([int(np.prod(shape)) for shape in shapes])]).tolist()
        self.rows = np.full(len(source), -1)
        self.rows[members] = np.arange(len(members))

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded images."""
        return self.flat.numel() * self.flat.element_size()

    def _batches(self, epoch: int, position: int) -> Iterator[list[Canvas]]:
        order = self.rows[self.order(epoch)]
        for step in range(position, len(self)):
            yield self._batch(self.batch_indices(order, step))

    def _batch(self, rows: np.ndarray) -> list[Canvas]:
        if self.uniform:
            chosen = torch.from_numpy(rows).to(self.device, non_blocking=True)
            return [self._canvas(gather_rows(self.pixels, chosen), None, chosen)]
        shared = share_canvases([self._image(row) for row in rows.tolist()])
        chosen = torch.from_numpy(rows)
        return [self._canvas(pixels, extent, chosen[group].to(self.device)) for pixels, extent, group in shared]

    def _image(self, row: int) -> Tensor:
        return self.flat[self.offsets[row] : self.offsets[row + 1]].view(self.shapes[row])

    def _canvas(self, pixels: Tensor, extent: Tensor | None, rows: Tensor) -> Canvas:
        return make_canvas(pixels, extent, self.index[rows], self.metadata_of(rows), self.source.value_range)


def _decode_all(
    source: Source,
    size: int | None,
    device: torch.device,
    threads: int | None,
    storage: str | Path | None,
    bad: BadImages,
) -> tuple[np.ndarray, list[tuple[int, ...]], Tensor]:
    """Positions in the source, shapes `(C, *S)` and pixels of all readable images."""
    dense = source.dense()
    if dense is not None and storage is None and scaled_shape(tuple(dense.shape[2:]), size) == tuple(dense.shape[2:]):
        shape = tuple(dense.shape[1:])
        return np.arange(len(source)), [shape] * len(source), dense.to(device)
    buffer = FlatBuffer(source.dtype, storage)
    members, shapes = [], []
    for index, pixels in enumerate(read_all(source, size, threads)):
        if isinstance(pixels, UnreadableImage):
            bad.add(index, str(pixels), len(source))
        else:
            buffer.append(pixels)
            members.append(index)
            shapes.append(tuple(pixels.shape))
    return np.array(members), shapes, buffer.finish(device)


def read_all(source: Source, size: int | None, threads: int | None = None) -> Iterator[Tensor | UnreadableImage]:
    """Every image in order, or why it cannot be read, by threads that keep a little ahead."""

    def read(index: int) -> Tensor | UnreadableImage:
        try:
            return source.read(index, size)
        except UnreadableImage as error:
            return error

    workers = (threads or usable_cpus()) if source.thread_safe else 1
    yield from map_ahead(read, len(source), workers)


def map_ahead(function: Callable[[int], Any], count: int, threads: int) -> Iterator[Any]:
    """`function` of each of `range(count)`, in order, in portions that amortise the threads' overhead."""
    portions = [range(start, min(start + AHEAD, count)) for start in range(0, count, AHEAD)]
    if threads == 1:
        yield from (function(index) for portion in portions for index in portion)
        return
    with ThreadPoolExecutor(threads) as pool:
        pending = []
        for portion in portions:
            pending.append(pool.submit(lambda portion=portion: [function(index) for index in portion]))
            if len(pending) > threads:
                yield from pending.pop(0).result()
        for portion in pending:
            yield from portion.result()


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
