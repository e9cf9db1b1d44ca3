"""Random numbers for methods: functions of a seed for each image, and of nothing else.

Counters are mixed with the seeds by splitmix64's finaliser (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, OOPSLA 2014), in whole numbers that wrap around. The numbers are
those of any device up to rounding, and nothing waits for one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def seeds(shared: int, index: Tensor) -> Tensor:
    """A seed `(B,)` int64 for each image `index` `(B,)` of a batch, or of a run."""
    return _mix(_mix(index.to(torch.int64) * _signed(GOLDEN) + _signed(shared)))


def uniform(seed: Tensor, shape: tuple[int, ...] = (), *, stream: int = 0) -> Tensor:
    """`(B, *shape)` float32, uniform in [0, 1), from `seed` `(B,)`; another `stream`, other numbers."""
    return _bits(seed, shape, stream).float() * 2**-24


def normal(seed: Tensor, shape: tuple[int, ...] = (), *, stream: int = 0) -> Tensor:
    """`(B, *shape)` float32, standard normal, from `seed` `(B,)`, by Box and Muller."""
    first, second = _above_0(_bits(seed, (*shape, 2), stream)).unbind(-1)
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()


def gumbel(seed: Tensor, shape: tuple[int, ...] = (), *, stream: int = 0) -> Tensor:
    """`(B, *shape)` float32, standard Gumbel: the largest of these plus logits is a draw of their softmax."""
    return -(-_above_0(_bits(seed, shape, stream)).log()).log()


def _bits(seed: Tensor, shape: tuple[int, ...], stream: int) -> Tensor:
    """`(B, *shape)` int64 of 24 random bits each."""
    counters = torch.arange(1, math.prod(shape) + 1, device=seed.device) * _signed(GOLDEN)
    streams = _mix(seed + _signed(stream * SECOND)) if stream else seed
    return ((_mix(streams[:, None] + counters) >> 40) & 0xFFFFFF).view(len(seed), *shape)


def _above_0(bits: Tensor) -> Tensor:
    """Numbers of the open interval (0, 1), of 23 of 24 random bits, so that float32 holds them exactly."""
    return ((bits >> 1).float() + 0.5) * 2**-23


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser of int64 numbers, taken as unsigned."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _signed(FIRST)
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _signed(SECOND)
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _signed(number: int) -> int:
    """A whole number as int64 holds its last 64 bits."""
    return (number + 2**63) % 2**64 - 2**63
