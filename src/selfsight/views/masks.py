"""Which patches of a view a method may see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """What a view set may draw beside its views."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        """One tensor with a row for each of `n` images, or several, on the generator's device."""
        ...


@dataclass(frozen=True)
class RandomPatches:
    """A random subset of patches, the same number for each image.

    grid: patches along each axis of a view, two or three numbers.
    keep: how many patches stay visible, a count (int) or a fraction (float, rounded down as in MAE).
    """

    grid: tuple[int, ...]
    keep: int | float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.kept < self.patches:
            raise ValueError(f"keep={self.keep} shows {self.kept} of {self.patches} patches: show some and hide some")

    @property
    def patches(self) -> int:
        """Number of patches of a view."""
        return math.prod(self.grid)

    @property
    def kept(self) -> int:
        """Number of patches that stay visible."""
        return self.keep if isinstance(self.keep, int) else int(self.keep * self.patches)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, kept)` int64 indices of visible patches, ascending, on the generator's device."""
        order = torch.rand((n, self.patches), generator=generator, device=generator.device).argsort(1)
        return order[:, : self.kept].sort(1).values


def complement(kept: Tensor, patches: int) -> Tensor:
    """`(n, patches - K)` ascending indices of the patches that are not in `kept` `(n, K)`."""
    visible = torch.zeros((len(kept), patches), dtype=torch.int8, device=kept.device).scatter_(1, kept, 1)
    return visible.argsort(dim=1, stable=True)[:, : patches - kept.shape[1]]
