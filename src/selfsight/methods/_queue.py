"""A memory of past embeddings, for the methods that compare with more than a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight import distributed


class Queue(nn.Module):
    """The last `length` embeddings of all ranks, the same on each; the oldest give way first.

    It starts as normalised noise from a fixed seed. How much was pushed is a Python number that
    travels in the state, so that nothing here waits for the device.
    """

    rows: Tensor

    def __init__(self, length: int, width: int):
        super().__init__()
        noise = torch.randn(length, width, generator=torch.Generator().manual_seed(0))
        self.register_buffer("rows", functional.normalize(noise, dim=1))
        self.pushed = 0

    @property
    def full(self) -> bool:
        """Whether every row is an embedding."""
        return self.pushed >= len(self.rows)

    @property
    def share(self) -> Tensor:
        """This rank's part of the rows; the parts of all ranks are the whole."""
        return self.rows.tensor_split(distributed.world_size())[distributed.rank()]

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Add the embeddings `(B, D)` of each rank, in the order of the ranks."""
        newest = distributed.gather(embeddings).to(self.rows.dtype)
        if len(newest) > len(self.rows):
            raise ValueError(
                f"a queue of {len(self.rows)} cannot hold a batch of {len(newest)}: lengthen it with queue="
            )
        places = (torch.arange(len(newest), device=self.rows.device) + self.pushed) % len(self.rows)
        self.rows[places] = newest
        self.pushed += len(newest)

    def get_extra_state(self) -> dict[str, int]:
        """How many embeddings were pushed so far."""
        return {"pushed": self.pushed}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Continue after `pushed` embeddings."""
        self.pushed = state["pushed"]
