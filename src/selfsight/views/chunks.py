"""Work through canvases in chunks that fit the processor's cache.

How a batch is cut, and how many threads torch has, changes nothing. Threads of Python's, each with chunks of its
own, were tried: its lock lets two of them do little more than one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selfsight.data.canvas import Canvas
from selfsight.views.resample import inside_extent

CACHE_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}  # on a CPU for each thread
LONG = (torch.int32, torch.int64)


def cut(canvases: Sequence[Canvas], values: Sequence[int]) -> Iterator[tuple[Canvas, slice]]:
    """Slices of the canvases that fit the cache, as even as can be, and their rows in the batch.

    values: how many float32 numbers an image of each canvas has at most while it is worked on.
    """
    start = 0
    for canvas, count in zip(canvases, values, strict=True):
        kind = canvas.pixels.device.type
        room = CACHE_BYTES.get(kind, CACHE_BYTES["cuda"]) * (torch.get_num_threads() if kind == "cpu" else 1)
        parts = math.ceil(len(canvas) / max(1, room // (4 * count)))
        for chunk in canvas.chunks(math.ceil(len(canvas) / parts)):
            yield chunk, slice(start, start + len(chunk))
            start += len(chunk)


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
