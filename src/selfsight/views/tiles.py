"""Views cut into tiles: puzzles, and grids of overlapping patches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsight.data.sizes import Size, each_axis


@dataclass(frozen=True)
class Tiles:
    """How a view is cut: tile `i` along an axis starts at pixel `i * stride`, and up to `jitter` later.

    size, stride: pixels, one number or one for each axis. grid: tiles along each axis, two or three numbers.
    jitter: largest offset in whole pixels, one number or one for each axis; drawn for each image, tile and axis.
    shuffle: whether each image's tiles come in a random order; otherwise the last axis runs fastest.
    """

    size: Size
    stride: Size
    grid: tuple[int, ...]
    jitter: Size = 0
    shuffle: bool = False

    def __post_init__(self) -> None:
        smallest = min(*self.shape, *self._strides, *self.grid)
        if smallest < 1 or min(self._jitters) < 0:
            raise ValueError(f"{self} cannot be cut: size, stride and grid are at least 1, jitter at least 0")

    @property
    def count(self) -> int:
        """Number of tiles of a view."""
        return math.prod(self.grid)

    @property
    def shape(self) -> tuple[int, ...]:
        """A tile's size along each axis."""
        return self._each(self.size)

    @property
    def span(self) -> tuple[int, ...]:
        """Pixels of a view that the tiles may reach, along each axis."""
        steps = zip(self.grid, self._strides, self.shape, self._jitters, strict=True)
        return tuple((tiles - 1) * stride + size + jitter for tiles, stride, size, jitter in steps)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """`(n, count, d)` int64 first pixels of the tiles of `n` views, on the generator's device."""
        device = generator.device
        starts = [
            torch.arange(tiles, device=device) * step for tiles, step in zip(self.grid, self._strides, strict=True)
        ]
        corners = torch.cartesian_prod(*starts).view(1, self.count, -1).repeat(n, 1, 1)
        if isinstance(self.jitter, int) and self.jitter:
            corners += torch.randint(self.jitter + 1, corners.shape, generator=generator, device=device)
        elif any(self._jitters):
            shape = corners.shape[:2]
            along = [torch.randint(most + 1, shape, generator=generator, device=device) for most in self._jitters]
            corners += torch.stack(along, dim=-1)
        if self.shuffle:
            order = torch.rand((n, self.count), generator=generator, device=device).argsort(1)
            corners = corners.gather(1, order[..., None].expand_as(corners))
        return corners

    def cut(self, x: Tensor, corners: Tensor) -> Tensor:
        """Tiles `(n * count, C, *shape)` of views `(n, C, *S)`, those of an image side by side."""
        n, channels, *spatial = x.shape
        dims = len(spatial)

        def along(values: Tensor, axis: int) -> Tensor:
            return values.reshape(*values.shape[:2], *[1] * axis, -1, *[1] * (dims - axis))

        image = torch.arange(n, device=x.device).view(n, 1, 1)
        channel = torch.arange(channels, device=x.device).view(1, 1, channels)
        pixels = [
            along(corners[:, :, axis, None] + torch.arange(side, device=x.device), axis + 1)
            for axis, side in enumerate(self.shape)
        ]
        return x[(along(image, 0), along(channel, 0), *pixels)].flatten(0, 1)

    @property
    def _strides(self) -> tuple[int, ...]:
        return self._each(self.stride)

    @property
    def _jitters(self) -> tuple[int, ...]:
        return self._each(self.jitter)

    def _each(self, value: Size) -> tuple[int, ...]:
        return each_axis(value, len(self.grid))
