"""Batch norms that a network has twice, for batches of two kinds that must not share statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class DualNorm(nn.Module):
    """A second set of the batch norms of a network, statistics, weights and all; the network keeps its own.

    `with dual.within(network): ...` runs the network with the second set. Neither the network's state
    nor its names show that there is another. A network without batch norm has nothing to double.

    momentum: share of a batch in the running statistics of the second set.
    """

    def __init__(self, network: nn.Module, momentum: float = 0.01):
        super().__init__()
        norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
        self.names = list(norms)
        self.norms = nn.ModuleList(copy.deepcopy(norm) for norm in norms.values())
        for norm in self.norms:
            norm.momentum = momentum  # type: ignore[assignment]

    @contextmanager
    def within(self, network: nn.Module) -> Iterator[None]:
        """Put the second set in the place of the first, until the body ends."""
        first = [network.get_submodule(name) for name in self.names]
        try:
            for name, norm in zip(self.names, self.norms, strict=True):
                network.set_submodule(name, norm)
            yield
        finally:
            for name, norm in zip(self.names, first, strict=True):
                network.set_submodule(name, norm)
