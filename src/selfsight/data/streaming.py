"""The streaming lane: workers decode each image once an epoch, near the size that is needed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
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

log = logging.getLogger(__name__)

# Pixels, extent and positions of each canvas; what was unreadable; what was clipped.
Delivery = tuple[list[tuple[Tensor | np.ndarray, np.ndarray | None, np.ndarray]], list[tuple[int, str]], dict[int, str]]

SHARED = "/dev/shm"
ROOM = 4  # times a batch that shared memory must have free, since all workers write at once


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
        self.said = False  # that shared memory is too small
        self.loader = DataLoader(
            _Portions(source, size, refill=self.drop_last),
            sampler=_Steps(self),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=mind_parent,
            collate_fn=as_is,
            persistent_workers=workers > 0,
            pin_memory=pin,
            # scripts without a __main__ guard and datasets that cannot be pickled work with fork only
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            # the loader seeds its workers by a draw: not from the generator that training uses
            generator=torch.Generator(),
        )

    def _batches(self, epoch: int, position: int) -> Iterator[list[Canvas]]:
        known = self.source.clipped
        for step, (canvases, unreadable, clipped) in enumerate(self._deliveries(), position + 1):
            for index, reason in unreadable:
                self.bad.add(index, reason, len(self.source))
            known.add(clipped)  # a worker counts in its own process
            if step == len(self) or not known.said:
                known.say(self.source.value_range)
            yield [self.canvas(*map(received, canvas)) for canvas in canvases]

    def _deliveries(self) -> Iterator[Delivery]:
        """What the workers hand over; a worker that died is found when its batch is wanted, never within a step."""
        walk = self._walk_through_loader()
        while True:
            try:
                delivery = next(walk, None)
            except (RuntimeError, OSError, EOFError) as error:
                died = dead_workers(self.loader)
                if not died:
                    raise
                raise RuntimeError(how_it_died(died[0])) from error
            if delivery is None:
                return
            if not self.said and any(isinstance(pixels, np.ndarray) for pixels, *_ in delivery[0]):
                self.said = True
                log.warning("%s", pipes_instead(sum(pixels.nbytes for pixels, *_ in delivery[0])))
            yield delivery

    def _walk_through_loader(self) -> Iterator[Delivery]:
        before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        deliveries = iter(self.loader)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)  # torch's handler raises wherever the program is
        yield from deliveries


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
        together = share_canvases(found)
        canvases = [
            (handed_over(pixels), None if extent is None else extent.numpy(), positions[group])
            for pixels, extent, group in together
        ]
        return canvases, unreadable, self.source.clipped.take()

    def _candidates(self, wanted: int) -> Iterator[int]:
        """The image that was asked for, then those that may stand in."""
        count = len(self.source) if self.refill else 1
        for step in range(count):
            index = (wanted + step) % len(self.source)
            if index not in self.unreadable:
                yield index


def mind_parent(_: int) -> None:
    """In a worker: leave signals to the parent, which a terminal sends to all, and end when it says so."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def as_is(delivery: Any) -> Any:
    """In place of torch's conversion, which makes tensors of arrays."""
    return delivery


def handed_over(pixels: Tensor) -> Tensor | np.ndarray:
    """A batch as it goes from a worker to the training: in shared memory, or where that is too small, as it
    is in a container that was given none, as an array that goes through a pipe."""
    if torch.utils.data.get_worker_info() is None:
        return pixels
    if free_shared_memory() < ROOM * pixels.nbytes:
        return pixels.numpy()
    try:
        return pixels.share_memory_()
    except RuntimeError:  # another process took it in the meantime
        return pixels.numpy()


def received(part: Any) -> Any:
    """A part of a batch as the training wants it."""
    return torch.from_numpy(part) if isinstance(part, np.ndarray) else part


def free_shared_memory() -> float:
    """Bytes that processes may still share; without a limit where the system sets none."""
    try:
        room = os.statvfs(SHARED)
    except (AttributeError, OSError):
        return float("inf")
    return room.f_bavail * room.f_frsize


def pipes_instead(size: int) -> str:
    """Why batches go through pipes, and what would help."""
    return (
        f"shared memory ({SHARED}, {free_shared_memory() / 1e6:,.0f} MB free) is too small for batches of "
        f"{size / 1e6:,.0f} MB: they go through pipes, which is slower; start the container with --shm-size 8g"
    )


def dead_workers(loader: DataLoader) -> list[Any]:
    """Workers that were killed; one that was killed just now gets a moment to be noticed."""
    # torch keeps the iterator of workers that live on, and has no public name for them
    workers = getattr(loader._iterator, "_workers", [])
    for worker in workers:
        worker.join(timeout=0.5 / len(workers))
    return [worker for worker in workers if worker.exitcode]


def how_it_died(worker: Any) -> str:
    """What most likely ended a worker, and what would help."""
    if worker.exitcode == -getattr(signal, "SIGBUS", 7):
        cause = f"shared memory ({SHARED}) is full: start the container with --shm-size 8g"
    elif worker.exitcode == -getattr(signal, "SIGKILL", 9):
        cause = "most likely the machine ran out of memory"
    elif worker.exitcode < 0:
        cause = "most likely a decoder failed on an image"
    else:
        cause = "the images' code ended it"
    how = f"signal {signal.Signals(-worker.exitcode).name}" if worker.exitcode < 0 else f"code {worker.exitcode}"
    return f"a worker that reads images was ended by {how}; {cause}. Lower workers or batch_size, or use lane resident"
