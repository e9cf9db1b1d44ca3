"""Choosing a lane from the size of the data and the memory there is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from selfsight.data.decoding import UnreadableImage, scaled_shape
from selfsight.data.lane import Lane
from selfsight.data.reading import usable_cpus
from selfsight.data.resident import ResidentLane
from selfsight.data.sources import Source, seeded_sample
from selfsight.data.streaming import StreamingLane
from selfsight.memory import free_memory

__all__ = ["Lane", "ResidentLane", "StreamingLane", "open_lane"]

MARGIN = 1.15  # images are kept this much larger than the largest view
HOST_SHARE = 0.5  # of free memory that decoded images may take
DEVICE_SHARE = 0.3
MOST_WORKERS = 8


def open_lane(
    source: Source,
    batch_size: int,
    *,
    lane: Literal["auto", "resident", "streaming"] = "auto",
    view_size: int | None = None,
    device: torch.device | str = "cpu",
    workers: int | None = None,
    storage: str | Path | None = None,
    sharers: int = 1,
    **options: Any,
) -> Lane:
    """The lane that suits the data: resident where they fit in memory once decoded, else streaming.

    view_size: the largest view in pixels; images come at 1.15 times that on the short side, never
        enlarged, or as they are without it. workers: processes (streaming) or threads (resident)
        that decode, by default one a processor. sharers: processes on this machine, each of which
        takes its part of the free memory. options: `seed`, `shuffle`, `drop_last`, `rank`,
        `world_size`, `bad`.
    """
    if lane not in ("auto", "resident", "streaming"):
        raise ValueError(f"no lane {lane!r}: choose auto, resident or streaming")
    device = torch.device(device)
    size = None if view_size is None else math.ceil(MARGIN * view_size)
    needed = decoded_bytes(source, size)
    free = free_memory() * HOST_SHARE / sharers
    fits = needed <= free or storage is not None
    compared = f"{needed / 1e9:.2f} GB decoded, {free / 1e9:.2f} GB allowed"
    if lane == "resident" or (lane == "auto" and fits):
        on_device = (
            device.type == "cuda" and storage is None and needed <= torch.cuda.mem_get_info(device)[0] * DEVICE_SHARE
        )
        resident = ResidentLane(
            source,
            batch_size,
            size=size,
            device=device if on_device else "cpu",
            threads=workers,
            storage=storage,
            **options,
        )
        where = f"on {device}" if on_device else f"in {storage}" if storage is not None else "in memory"
        resident.reason = f"resident {where}: {'asked for' if lane == 'resident' else compared}"
        return resident
    workers = min(MOST_WORKERS, usable_cpus()) if workers is None else workers
    streaming = StreamingLane(source, batch_size, size=size, workers=workers, pin=device.type == "cuda", **options)
    streaming.reason = f"streaming with {workers} workers: {'asked for' if lane == 'streaming' else compared}"
    return streaming


def decoded_bytes(source: Source, size: int | None = None, looked_at: int = 256) -> int:
    """Bytes of all images at `size`, judged from the headers of a sample."""
    sizes = []
    for index in seeded_sample(len(source), looked_at, seed=0).tolist():
        try:
            sizes.append(math.prod(scaled_shape(source.shape(index), size)))
        except UnreadableImage:
            continue  # the lane will name it
    return int(np.mean(sizes or [0]) * len(source) * source.channels * source.dtype.itemsize)
