"""A memory with a row for each training image, for the methods that compare with the whole data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight import distributed, losses
from selfsight.methods._queue import unit_noise
from selfsight.precision import full_precision

CHANGED = "the data set has changed: go on with the data that the run was begun with, or start anew"


class MemoryBank(nn.Module):
    """A unit vector for each image, by index, the same on every rank; it moves towards the image's embeddings.

    width: length of the vectors. momentum: how much of the old vector an update keeps.

    It starts, in `allocate`, as normalised noise from the seed that torch had when the bank was made, the run's.
    """

    rows: Tensor

    def __init__(self, width: int, momentum: float = 0.5):
        super().__init__()
        self.register_buffer("rows", torch.empty(0, width))
        self.momentum = momentum
        self.seed = torch.initial_seed()
        self.used = False

    def __len__(self) -> int:
        return len(self.rows)

    def allocate(self, samples: int) -> None:
        """Make a row for each of `samples` images; rows of so many are kept.

        Raises:
            ValueError: when the bank already remembers another number of images.
        """
        if len(self) == samples:
            return
        if self.used:
            raise ValueError(f"the memory bank holds {len(self)} images and the data has {samples}: {CHANGED}")
        self.rows = unit_noise(samples, self.rows.shape[1], self.seed).to(self.rows)

    def of(self, index: Tensor) -> Tensor:
        """Rows `(B, D)` of images `index` `(B,)`; an index outside the bank, a negative one too, is an error."""
        return self.rows.index_select(0, index)

    def noise(self, count: int, seed: int) -> Tensor:
        """`(count, D)` rows drawn with replacement, each image as likely as any other, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(self), (count,), generator=generator)
        return self.of(drawn.to(self.rows.device, non_blocking=True))

    @torch.no_grad()
    @full_precision
    def update(self, index: Tensor, embeddings: Tensor) -> None:
        """Move the rows of the images `index` `(B,)` of each rank towards their unit `embeddings` `(B, D)`.

        Of an image that is there several times the last embedding counts, in the order of the ranks.
        """
        index, embeddings = distributed.gather(index), distributed.gather(embeddings)
        ordered, order = index.sort(stable=True)
        last = order[torch.searchsorted(ordered, index, right=True) - 1]
        newest = embeddings.to(self.rows.dtype).index_select(0, last)
        moved = self.momentum * self.of(index) + (1 - self.momentum) * newest
        self.rows[index] = functional.normalize(moved, dim=1)  # what is written twice is the same twice
        self.used = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        stored = state_dict.get(f"{prefix}rows")
        if stored is not None and len(self) not in (0, len(stored)):
            raise ValueError(f"the memory bank holds {len(stored)} images and the data has {len(self)}: {CHANGED}")
        if stored is not None and len(self) == 0:
            self.rows = self.rows.new_empty(len(stored), self.rows.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *others)
        self.used = True


class InstanceContrast(nn.Module):
    """Tells an image's memory from `noise` others drawn at random, or from all where there are no more than that.

    The constant Z of the noise-contrastive estimate is that of the first batch, from then on. Whether it
    is known is a Python number that travels in the state, so that no step waits for the device.
    """

    log_partition: Tensor

    def __init__(self, noise: int | None, temperature: float):
        super().__init__()
        self.register_buffer("log_partition", torch.zeros(()))
        self.known = False
        self.noise, self.temperature = noise or 0, temperature

    def forward(self, v: Tensor, index: Tensor, bank: MemoryBank, seed: int) -> Tensor:
        """The loss of embeddings `v` `(B, D)` of the images `index` `(B,)`; a seed that ranks share draws the noise."""
        if not 0 < self.noise < len(bank):
            return losses.instance_softmax(v, index, bank.rows, self.temperature)
        noise = bank.noise(self.noise, seed)
        if not self.known:
            self.log_partition.copy_(losses.log_partition(v, noise, len(bank), self.temperature))
            self.known = True
        return losses.instance_nce(v, bank.of(index), noise, len(bank), self.log_partition, self.temperature)

    def get_extra_state(self) -> dict[str, bool]:
        """Whether the first batch was there."""
        return {"known": self.known}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        """Go on with or without a first batch."""
        self.known = state["known"]
