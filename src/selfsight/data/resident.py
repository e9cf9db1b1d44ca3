"""The resident lane: what fits is decoded once and stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight.data.canvas import Canvas, share_canvases
from selfsight.data.checks import BadImages
from selfsight.data.decoding import UnreadableImage, scaled_shape
from selfsight.data.lane import Lane
from selfsight.data.reading import read_each
from selfsight.data.sources import Source
from selfsight.progress import track

SLAB = 64 * 2**20  # bytes


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
        self.columns = {
            name: column[torch.from_numpy(members)].to(self.device) for name, column in self.columns.items()
        }
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
            return [self.canvas(gather_rows(self.pixels, chosen), None, self.index.index_select(0, chosen), chosen)]
        canvases = []
        for pixels, extent, group in share_canvases([self._image(row) for row in rows.tolist()]):
            chosen = torch.from_numpy(rows[group]).to(self.device, non_blocking=True)
            canvases.append(self.canvas(pixels, extent, self.index.index_select(0, chosen), chosen))
        return canvases

    def _image(self, row: int) -> Tensor:
        return self.flat[self.offsets[row] : self.offsets[row + 1]].view(self.shapes[row])


def gather_rows(pixels: Tensor, index: Tensor) -> Tensor:
    """`pixels[index]`, as fast as memory allows.

    On the CPU by NumPy: for bytes torch's indexing takes 30 times as long on two threads, and
    `index_select` more where other processes want the processors. Unsigned 16-bit pixels, which
    not every device indexes, go as signed ones.
    """
    if pixels.device.type == "cpu":
        return torch.from_numpy(pixels.numpy()[index.numpy()])
    if pixels.dtype == torch.uint16:
        return pixels.view(torch.int16).index_select(0, index).view(torch.uint16)
    return pixels.index_select(0, index)


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
    images = read_each(source, range(len(source)), size, threads)
    for index, pixels in enumerate(track(images, len(source), f"reading {source.name}")):
        if isinstance(pixels, UnreadableImage):
            bad.add(index, str(pixels), len(source))
        else:
            buffer.append(pixels)
            members.append(index)
            shapes.append(tuple(pixels.shape))
    source.clipped.say(source.value_range)
    return np.array(members), shapes, buffer.finish(device)
