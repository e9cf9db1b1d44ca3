"""The streaming lane: workers decode each image once an epoch, near the size that is needed."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from selfsight.data.canvas import Canvas, share_canvases
from selfsight.data.decoding import UnreadableImage
from selfsight.data.lane import Lane
from selfsight.data.sources import Source

Delivery = tuple[list[tuple[Tensor, Tensor | None, Tensor]], list[tuple[int, str]], dict[int, str]]


class StreamingLane(Lane):
    """Batches decoded ahead by workers, which live as long as the lane.

    size: short side that larger images are shrunk to. pin: whether batches come in page-locked
    memory. An unreadable image is named, once, and its place taken by the next readable one of
    the source, so that batches keep their size; with `drop_last=False`, where each image is
    wanted once, its place stays empty.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        size: int | None = None,
        workers: int = 2,
        pin: bool = False,
        **options: Any,
    ):
        super().__init__(source, batch_size, **options)
        self.size = size
        self.loader = DataLoader(
            _Portions(source, size, refill=self.drop_last),
            sampler=_Steps(self),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            # scripts without a __main__ guard and datasets that cannot be pickled work with fork only
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            # the loader seeds its workers by a draw: not from the generator that training uses
            generator=torch.Generator(),
        )

    def _batches(self, epoch: int, position: int) -> Iterator[list[Canvas]]:
        known = self.source.clipped
        for step, (canvases, unreadable, clipped) in enumerate(self.loader, position + 1):
            for index, reason in unreadable:
                self.bad.add(index, reason, len(self.source))
            known.add(clipped)  # a worker counts in its own process
            if step == len(self) or not known.said:
                known.say(self.source.value_range)
            yield [self.canvas(*canvas) for canvas in canvases]


class _Steps(Sampler[list[int]]):
    """The indices of each batch that is still to come."""

    def __init__(self, lane: StreamingLane):
        self.lane = weakref.proxy(lane)  # without a cycle, the workers end when the lane is dropped

    def __iter__(self) -> Iterator[list[int]]:
        order = self.lane.order(self.lane.epoch)
        for step in range(self.lane.position, len(self.lane)):
            yield self.lane.batch_indices(order, step).tolist()

    def __len__(self) -> int:
        return len(self.lane)


class _Portions(Dataset):
    """Batches by their indices, as a worker makes them."""

    def __init__(self, source: Source, size: int | None, refill: bool):
        self.source, self.size, self.refill = source, size, refill
        self.unreadable: set[int] = set()

    def __getitem__(self, indices: list[int]) -> Delivery:
        found, taken, unreadable = [], [], []
        for wanted in indices:
            for index in self._candidates(wanted):
                try:
                    found.append(self.source.read(index, self.size))
                    taken.append(index)
                    break
                except UnreadableImage as error:
                    self.unreadable.add(index)
                    unreadable.append((index, str(error)))
        if not found:
            return [], unreadable, self.source.clipped.take()
        positions = np.array(taken)
        shared = share_canvases(found)
        canvases = [(pixels, extent, torch.from_numpy(positions[group])) for pixels, extent, group in shared]
        return canvases, unreadable, self.source.clipped.take()

    def _candidates(self, wanted: int) -> Iterator[int]:
        """The image that was asked for, then those that may stand in."""
        count = len(self.source) if self.refill else 1
        for step in range(count):
            index = (wanted + step) % len(self.source)
            if index not in self.unreadable:
                yield index
