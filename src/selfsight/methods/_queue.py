"""A memory of past embeddings, for the methods that compare with more than a batch."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight import distributed
from selfsight.losses.blocks import block_height
from selfsight.precision import full_precision

log = logging.getLogger(__name__)


class Queue(nn.Module):
    """The last `length` embeddings of all ranks, the same on each; the oldest give way first.

    It starts as normalised noise from torch's seed, the run's. How much was pushed is a Python number that
    travels in the state, so that nothing here waits for the device.
    """

    rows: Tensor

    def __init__(self, length: int, width: int):
        super().__init__()
        self.register_buffer("rows", unit_noise(length, width, torch.initial_seed()))
        self.pushed = 0

    @property
    def full(self) -> bool:
        """Whether every row is an embedding."""
        return self.pushed >= len(self.rows)

    @property
    def share(self) -> Tensor:
        """This rank's part of the rows; the parts of all ranks are the whole."""
        return self.rows.tensor_split(distributed.world_size())[distributed.rank()]

    def check(self, *, samples: int, batch: int) -> None:
        """Refuse, before training begins, a batch that does not fit; warn where images meet themselves."""
        self._hold(batch)
        if len(self.rows) > samples:
            log.warning(
                "a queue of %d is longer than the data, %d images, which meet their own former embeddings in it: "
                "shorten it with queue=, --method.queue on the shell, if they should not",
                len(self.rows),
                samples,
            )

    @torch.no_grad()
    @full_precision
    def nearest(self, z: Tensor, count: int = 1) -> Tensor:
        """The `count` rows nearest to each of `z` `(N, D)` by cosine, nearest first: `(N, count, D)`.

        The rows must be of unit length. None is a row of the present batch, if that is pushed after use.
        """
        blocks = z.split(block_height(z.device, len(self.rows)))
        return self.rows[torch.cat([(block @ self.rows.T).topk(count).indices for block in blocks])]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Add the embeddings `(B, D)` of each rank, in the order of the ranks."""
        newest = distributed.gather(embeddings).to(self.rows.dtype)
        self._hold(len(newest))
        places = (torch.arange(len(newest), device=self.rows.device) + self.pushed) % len(self.rows)
        self.rows[places] = newest
        self.pushed += len(newest)

    def _hold(self, batch: int) -> None:
        if batch > len(self.rows):
            raise ValueError(
                f"a queue of {len(self.rows)} cannot hold a batch of {batch}: lengthen it with queue=, "
                f"--method.queue on the shell, or lower batch_size"
            )

    def get_extra_state(self) -> dict[str, int]:
        """How many embeddings were pushed so far."""
        return {"pushed": self.pushed}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Continue after `pushed` embeddings."""
        self.pushed = state["pushed"]


def unit_noise(count: int, width: int, seed: int) -> Tensor:
    """`(count, width)` random directions; other numbers than weights that are drawn from the same seed."""
    generator = torch.Generator().manual_seed(seed ^ 1)
    return functional.normalize(torch.randn(count, width, generator=generator), dim=1)
