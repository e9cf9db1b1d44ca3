"""Reading many images by threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from selfsight.data.decoding import UnreadableImage
from selfsight.data.sources import Source

AHEAD = 16  # images that a thread reads in one go


def read_each(
    source: Source, indices: Sequence[int], size: int | None = None, threads: int | None = None
) -> Iterator[Tensor | UnreadableImage]:
    """The images at `indices`, in order, or why one cannot be read; a little is read ahead."""

    def read(part: Sequence[int]) -> list[Tensor | UnreadableImage]:
        images: list[Tensor | UnreadableImage] = []
        for index in part:
            try:
                images.append(source.read(index, size))
            except UnreadableImage as error:
                images.append(error)
        return images

    parts = (indices[start : start + AHEAD] for start in range(0, len(indices), AHEAD))
    workers = (threads or usable_cpus()) if source.thread_safe else 1
    if workers == 1:
        for index in indices:
            yield from read([index])
        return
    inner = torch.get_num_threads()
    torch.set_num_threads(1)  # an image a thread: more inside would fight over the processors
    try:
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[Future] = deque()
            for part in parts:
                ahead.append(pool.submit(read, part))
                if len(ahead) > 2 * workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
    finally:
        torch.set_num_threads(inner)


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
