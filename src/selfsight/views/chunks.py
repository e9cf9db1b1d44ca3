"""Work through canvases in chunks that fit the processor's cache, several at a time.

How a batch is cut, and into how many threads, changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from selfsight.data.canvas import Canvas
from selfsight.views.resample import inside_extent

CACHE_BYTES = {"cpu": 1 << 20, "cuda": 256 << 20}
LONG = (torch.int32, torch.int64)


@contextmanager
def one_thread(device: torch.device) -> Iterator[int]:
    """On a CPU, torch's operations have a single thread inside; gives how many they had, which may each take chunks.

    Operations on a chunk are too small to be shared, and threads that are called for one spin a while after it.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield 1
        return
    torch.set_num_threads(1)  # of this thread and those that begin now
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def for_each_chunk(
    function: Callable[[Canvas, slice], None], canvases: Sequence[Canvas], values: Sequence[int], threads: int = 1
) -> None:
    """Call `function(chunk, its rows in the batch)` for all images, by threads.

    values: how many float32 numbers an image of each canvas has at most while it is worked on.
    """
    chunks = cut(canvases, values, threads)
    if threads == 1 or len(chunks) == 1:
        for chunk in chunks:
            function(*chunk)
        return
    inference = torch.is_inference_mode_enabled()

    def work(chunk: tuple[Canvas, slice]) -> None:
        with torch.inference_mode(inference), torch.no_grad():  # which hold for one thread
            function(*chunk)

    with ThreadPoolExecutor(min(threads, len(chunks))) as pool:
        list(pool.map(work, chunks))


def cut(canvases: Sequence[Canvas], values: Sequence[int], threads: int) -> list[tuple[Canvas, slice]]:
    """Slices of the canvases that fit the cache, as many for each thread, and their rows in the batch."""
    chunks: list[tuple[Canvas, slice]] = []
    start = 0
    for canvas, count in zip(canvases, values, strict=True):
        fitting = max(1, CACHE_BYTES.get(canvas.pixels.device.type, CACHE_BYTES["cuda"]) // (4 * count))
        shares = threads if len(canvas) > fitting // 4 else 1  # to begin a thread takes as long as a few small images
        parts = shares * math.ceil(len(canvas) / (fitting * shares))
        for chunk in canvas.chunks(math.ceil(len(canvas) / parts)):
            chunks.append((chunk, slice(start, start + len(chunk))))
            start += len(chunk)
    return chunks


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
