"""Teachers: an exponential moving average of a student's parameters."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class EMA(nn.Module):
    """A copy of `module` that follows it slowly and never learns by gradient.

    Its parameters move on `update`; buffers (statistics of batch norm) are its own, from its own
    forward passes, unless `update` is asked to copy them.
    """

    def __init__(self, module: nn.Module, momentum: float = 0.996):
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The copy's answer, outside any graph."""
        return self.module(*inputs, **keywords)

    @torch.no_grad()
    def update(self, source: nn.Module, momentum: float | None = None, *, buffers: bool = False) -> None:
        """teacher = momentum * teacher + (1 - momentum) * source."""
        momentum = self.momentum if momentum is None else momentum
        own: list[Tensor] = list(self.module.parameters())
        other: list[Tensor] = list(source.parameters())
        assert len(own) == len(other), "teacher and student differ in architecture"
        if own:
            torch._foreach_lerp_(own, other, 1.0 - momentum)  # pyright: ignore[reportPrivateImportUsage]
        if buffers:
            for mine, theirs in zip(self.module.buffers(), source.buffers(), strict=True):
                mine.copy_(theirs)


def cosine_momentum(step: int, steps: int, start: float, end: float = 1.0) -> float:
    """From `start` at step 0 along half a cosine to `end` at step `steps`."""
    return end - (end - start) * (1.0 + math.cos(math.pi * min(step / steps, 1.0))) / 2.0
