"""Random numbers from a generator that is passed in, on the generator's device."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform float32 numbers in [low, high)."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def happens(n: int, p: float, generator: torch.Generator) -> Tensor:
    """`(n,)` booleans, true with probability `p`."""
    return torch.rand(n, generator=generator, device=generator.device) < p
