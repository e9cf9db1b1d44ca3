"""Work through canvases in chunks that stay in the processor's cache and in memory that is at hand.

How a batch is cut, and how many threads torch has, changes nothing, unless a batch of small images has fewer of them
than there are threads: then these share a matrix product in ways of their own, and its last digits differ. Threads of
Python's, each with chunks of its own, were tried: they wait for Python's lock longer than torch's for each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from selfsight.data.canvas import Canvas
from selfsight.views.resample import inside_extent

# on a CPU less than a huge page: what is larger may be had from the system each time anew, zeroed page by page
CHUNK_BYTES = {"cpu": (2 << 20) - 1, "cuda": 256 << 20}
LONG = (torch.int32, torch.int64)


def cut(canvases: Sequence[Canvas], values: Sequence[int]) -> Iterator[tuple[Canvas, slice]]:
    """Slices of the canvases of at most `CHUNK_BYTES`, as even as can be, and their rows in the batch.

    values: how many float32 numbers an image of each canvas has at most while it is worked on.
    """
    start = 0
    for canvas, count in zip(canvases, values, strict=True):
        room = CHUNK_BYTES.get(canvas.pixels.device.type, CHUNK_BYTES["cuda"])
        parts = math.ceil(len(canvas) / max(1, room // (4 * count)))
        for chunk in canvas.chunks(math.ceil(len(canvas) / parts)):
            yield chunk, slice(start, start + len(chunk))
            start += len(chunk)


@dataclass(frozen=True)
class Chunk:
    """Some images of a canvas, to be read by several views."""

    canvas: Canvas

    @cached_property
    def pixels(self) -> Tensor:
        """In [0, 1], made when a view first wants them."""
        return unit_range(self.canvas)


def unit_range(canvas: Canvas) -> Tensor:
    """The canvas's pixels as float32 with `value_range` mapped to [0, 1]."""
    low, high = canvas.value_range
    if canvas.pixels.dtype in LONG:  # small differences of large numbers, which float32 would round away
        return canvas.pixels.to(torch.float64).sub_(low).mul_(1 / (high - low)).to(torch.float32)
    pixels = canvas.pixels.to(torch.float32, copy=True)
    if canvas.pixels.is_floating_point() and not canvas.uniform:
        pixels.masked_fill_(~inside_extent(canvas.extent, canvas.spatial), low)  # padding may be NaN
    if low != 0:
        pixels.sub_(low)
    return pixels.mul_(1 / (high - low))
