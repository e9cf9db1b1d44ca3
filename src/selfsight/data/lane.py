"""What both lanes share: the order of the images, and where in it we are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from selfsight.data.canvas import Canvas, full_canvas
from selfsight.data.checks import BadImages
from selfsight.data.labels import numeric_metadata
from selfsight.data.sources import Source


class Lane:
    """Batches of a source, each a list of canvases, in an order that follows from (seed, epoch).

    Iterating walks one epoch, and the next `iter` the next one, whether the former was exhausted
    or not. `state_dict()` says how many batches were handed out, so that a lane that loads it
    hands out exactly the others. Step `k` of all ranks together, in the order of the ranks, is
    step `k` of one process with `world_size * batch_size` images. Without `drop_last` the last
    batch is smaller, and ranks stay equal by repeating images from the start of the order.

    epoch, position: where the lane is; position counts batches.
    chances: of each image to be drawn, where they are not alike (`draw_by`).
    wait: seconds spent waiting for data, so far.
    reason: why this lane was chosen.
    """

    reason = ""

    def __init__(
        self,
        source: Source,
        batch_size: int,
        *,
        members: np.ndarray | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
        bad: BadImages | None = None,
    ):
        self.source = source
        self.batch_size = batch_size
        self.members = np.arange(len(source)) if members is None else members
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self.bad = BadImages() if bad is None else bad
        self.columns = numeric_metadata(source)
        self.epoch = self.position = 0
        self.chances: np.ndarray | None = None
        self.wait = 0.0
        self._started = False
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
        if drop_last and len(self) == 0:
            processes = f" on each of {world_size} processes" if world_size > 1 else ""
            readable = f"{len(self.members)} readable images"
            if len(self.bad):
                readable += f" of {len(source)}, without {self.bad.names[0]}"
            raise ValueError(
                f"a batch of {batch_size}{processes} is larger than the data, {readable}: "
                f"lower batch_size to at most {max(1, len(self.members) // world_size)}"
            )

    @property
    def samples(self) -> int:
        """Number of images that are handed out, those known to be unreadable left out."""
        return len(self.members)

    def __len__(self) -> int:
        """Batches an epoch, the same on every rank."""
        together = self.batch_size * self.world_size
        return self.samples // together if self.drop_last else -(-self.samples // together)

    def order(self, epoch: int) -> np.ndarray:
        """Positions in the source of all images, in the order of an epoch."""
        if not self.shuffle:
            return self.members
        generator = np.random.default_rng([self.seed, epoch])
        if self.chances is not None:
            return self.members[generator.choice(self.samples, self.samples, p=self.chances)]
        return self.members[generator.permutation(self.samples)]

    def draw_by(self, weights: Tensor | None) -> None:
        """From the next order on, draw images with replacement by `weights` `(N,)`, a number for each image of
        the source; None: each once.

        Raises:
            ValueError: for weights that are not N finite numbers of at least 0, some above it.
        """
        if weights is None:
            self.chances = None
            return
        values = weights.detach().cpu().double().numpy()
        if values.shape != (len(self.source),):
            raise ValueError(f"weights are {values.shape}: give one for each of the {len(self.source)} images")
        values = values[self.members]
        if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
            raise ValueError("weights of images must be finite, at least 0, and some above it")
        self.chances = values / values.sum()

    def batch_indices(self, order: np.ndarray, step: int) -> np.ndarray:
        """This rank's part of a step."""
        together = self.batch_size * self.world_size
        batch = order[step * together : (step + 1) * together]
        share = -(-len(batch) // self.world_size)
        batch = np.concatenate([batch, np.resize(order, share * self.world_size - len(batch))])
        return batch[self.rank * share : (self.rank + 1) * share]

    def __iter__(self) -> Iterator[list[Canvas]]:
        if self._started:  # Lightning never exhausts a loader that has a length, so an epoch ends here
            self.set_epoch(self.epoch + 1)
        return self._walk()

    def _walk(self) -> Iterator[list[Canvas]]:
        began = time.perf_counter()
        batches = self._batches(self.epoch, self.position)
        while self.position < len(self):
            batch = next(batches)
            self.wait += time.perf_counter() - began
            self.position += 1
            self._started = True
            yield batch
            began = time.perf_counter()

    def _batches(self, epoch: int, position: int) -> Iterator[list[Canvas]]:
        """Batches of an epoch from a position on."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, unless we are in it."""
        if epoch != self.epoch:
            self.epoch, self.position, self._started = epoch, 0, False

    def state_dict(self) -> dict[str, int]:
        """Where the next batch comes from: its epoch, and how many of that epoch were handed out."""
        if self.position >= len(self):
            return {"epoch": self.epoch + 1, "position": 0}
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.epoch, self.position, self._started = int(state["epoch"]), int(state["position"]), False

    def canvas(self, pixels: Tensor, extent: Tensor | None, index: Tensor, rows: Tensor | None = None) -> Canvas:
        """A canvas with the metadata at `rows` of the columns, which is `index` unless given.

        Without `extent` the images fill the canvas.
        """
        rows = index if rows is None else rows
        metadata = {name: column.index_select(0, rows) for name, column in self.columns.items()}
        if extent is None:
            return full_canvas(pixels, index, metadata, self.source.value_range)
        extent = extent.to(pixels.device, non_blocking=True)
        return Canvas(pixels, extent, index, metadata, self.source.value_range, full=False)
