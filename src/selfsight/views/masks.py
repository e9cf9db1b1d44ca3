"""Which patches of a view a method may see: at random, in blocks, several blocks, and what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfsight.views.chance import uniform


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


@dataclass(frozen=True)
class Blocks:
    """Patches hidden in rectangular blocks until `hide` of them are, exactly so many in each image.

    Bao, Dong, Piao, Wei: BEiT (ICLR 2022), algorithm 1. A block that would hide too many is passed over, as
    theirs is; what is then still to hide, where they stop short, is taken at the blocks' borders.

    grid: patches along each axis, two or three numbers. hide: a count (int) or a share (float, rounded).
    smallest: patches of a block at least. aspect: of its sides, log-uniform.
    """

    grid: tuple[int, ...]
    hide: int | float = 0.4
    smallest: int = 16
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    tries: int = 60

    def __post_init__(self) -> None:
        if not 0 < self.hidden < self.patches:
            raise ValueError(f"hide={self.hide} hides {self.hidden} of {self.patches} patches: show some and hide some")
        if not 1 <= self.smallest <= self.hidden:
            raise ValueError(f"smallest is {self.smallest}: give from 1 to the {self.hidden} patches that are hidden")

    @property
    def patches(self) -> int:
        """Number of patches of a view."""
        return math.prod(self.grid)

    @property
    def hidden(self) -> int:
        """Number of patches that are hidden."""
        return self.hide if isinstance(self.hide, int) else round(self.hide * self.patches)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, patches)` booleans, row by row: which patches are hidden; on the generator's device."""
        hidden = torch.zeros((n, self.patches), dtype=torch.bool, device=generator.device)
        for _ in range(self.tries):
            left = self.hidden - hidden.sum(1)
            area = self.smallest + uniform((n,), generator) * (left - self.smallest).clamp(min=0)
            block = box_of(area, self.aspect, self.grid, generator)
            more = (block & ~hidden).sum(1)
            hidden |= block & ((more > 0) & (more <= left))[:, None]
        return self._fill(hidden, generator)

    def _fill(self, hidden: Tensor, generator: torch.Generator) -> Tensor:
        """Hide what is left to hide, first where most neighbours are hidden."""
        pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[len(self.grid)]
        while bool((short := self.hidden - hidden.sum(1)).any()):
            around = pool(hidden.view(-1, 1, *self.grid).float(), 3, stride=1, padding=1).flatten(1)
            order = (around + 1e-3 * uniform(tuple(hidden.shape), generator)).masked_fill(hidden, -1)
            hidden = hidden | ((order == order.amax(1, keepdim=True)) & (short > 0)[:, None])
        return hidden


@dataclass(frozen=True)
class MultiBlock:
    """A context, and blocks that are to be predicted from it; no patch of them is in the context.

    Assran et al.: I-JEPA (CVPR 2023), section 3. As in the authors' code, sizes are drawn once a batch and
    places for each image, and all contexts are cut to the shortest, which keeps their first patches.

    grid: patches along each axis, two or three numbers. targets: number of blocks. scale, aspect: of their area and
    sides. context: the context's scale. fewest: patches that are left of it, at least.
    """

    grid: tuple[int, ...]
    targets: int = 4
    scale: tuple[float, float] = (0.15, 0.2)
    aspect: tuple[float, float] = (0.75, 1.5)
    context: tuple[float, float] = (0.85, 1.0)
    fewest: int = 4

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ascending int64 indices of the context `(n, K)` and of the targets `(n, targets, M)`.

        Raises:
            ValueError: where targets leave too little of the context, for scales that are too large.
        """
        patches = math.prod(self.grid)
        area = (uniform((1,), generator, *self.scale) * patches).expand(n * self.targets)
        sides = sides_of(area[:1], self.aspect, self.grid, generator).expand(n * self.targets, -1)
        blocks = placed(sides, self.grid, generator).view(n, self.targets, patches)
        whole = sides_of(uniform((1,), generator, *self.context) * patches, (1.0, 1.0), self.grid, generator)
        for _ in range(20):
            context = placed(whole.expand(n, -1), self.grid, generator) & ~blocks.any(1)
            count = int(context.sum(1).min())
            if count >= self.fewest:
                inside = first_of(blocks.flatten(0, 1), int(sides[0].prod()))
                return first_of(context, count), inside.view(n, self.targets, -1)
        raise ValueError(
            f"{self.targets} targets of {self.scale} of {patches} patches leave the context fewer than {self.fewest}: "
            f"lower targets, scale or fewest"
        )


@dataclass(frozen=True)
class Halves:
    """The patches that `mask` shows and those that it hides, as two sets of indices: SplitMask, CAE."""

    mask: RandomPatches | Blocks

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ascending int64 indices of visible `(n, K)` and of hidden patches `(n, N - K)`."""
        drawn = self.mask.sample(n, generator)
        if isinstance(self.mask, Blocks):
            return first_of(~drawn, self.mask.patches - self.mask.hidden), first_of(drawn, self.mask.hidden)
        return drawn, complement(drawn, self.mask.patches)


def box_of(area: Tensor, aspect: tuple[float, float], grid: Sequence[int], generator: torch.Generator) -> Tensor:
    """`(n, patches)` booleans of one block each, of about `area` `(n,)` patches, somewhere in the grid."""
    return placed(sides_of(area, aspect, grid, generator), grid, generator)


def sides_of(area: Tensor, aspect: tuple[float, float], grid: Sequence[int], generator: torch.Generator) -> Tensor:
    """`(n, d)` whole sides of blocks of about `area` `(n,)` patches, their aspect log-uniform, within the grid."""
    logs = uniform((len(area), len(grid)), generator, *map(math.log, aspect))
    logs[:, 0] = 0
    sides = area[:, None] ** (1 / len(grid)) * (logs - logs.mean(1, keepdim=True)).exp()
    return sides.round().long().clamp(min=1).minimum(torch.tensor(grid, device=area.device))


def placed(sides: Tensor, grid: Sequence[int], generator: torch.Generator) -> Tensor:
    """`(n, patches)` booleans of blocks with `sides` `(n, d)`, each somewhere in the grid."""
    room = torch.tensor(grid, device=sides.device) - sides + 1
    start = (uniform(tuple(sides.shape), generator) * room).long().minimum(room - 1)
    inside = torch.ones((len(sides), *[1] * len(grid)), dtype=torch.bool, device=sides.device)
    for axis, length in enumerate(grid):
        at = torch.arange(length, device=sides.device)
        along = (at >= start[:, axis, None]) & (at < (start + sides)[:, axis, None])
        inside = inside & along.view(-1, *(length if other == axis else 1 for other in range(len(grid))))
    return inside.flatten(1)


def first_of(chosen: Tensor, count: int) -> Tensor:
    """`(n, count)` ascending indices of the first chosen ones of `(n, N)` booleans."""
    return chosen.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]


def complement(kept: Tensor, patches: int) -> Tensor:
    """`(n, patches - K)` ascending indices of the patches that are not in `kept` `(n, K)`."""
    visible = torch.zeros((len(kept), patches), dtype=torch.int8, device=kept.device).scatter_(1, kept, 1)
    return visible.argsort(dim=1, stable=True)[:, : patches - kept.shape[1]]
