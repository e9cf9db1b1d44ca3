"""Predictions of patches from the patches on one side of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class Direction(nn.Module):
    """A masked context network and its linear predictors, from the first row along `axis` on, or the last."""

    def __init__(
        self, width: int, context: int, depth: int, target: int, ahead: int, axis: int, turned: bool, dims: int
    ):
        super().__init__()
        self.axis, self.turned = axis, turned
        self.context = nn.Sequential(
            CONVOLUTIONS[dims](width, context, 1), *[ContextBlock(context, dims) for _ in range(depth)]
        )
        self.predictors = nn.ModuleList(nn.Linear(context, target, bias=False) for _ in range(ahead))

    def forward(self, grid: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions `(B, M, target)` from patches `(B, *grid, width)` and their places `(M,)`, those of `places`."""
        grid, places = self.oriented(grid, 1), self.oriented(places, 0)
        context = self.context(grid.movedim(-1, 1)).movedim(1, -1)
        predictions = [w(context[:, :-k]).flatten(1, -2) for k, w in enumerate(self.predictors, start=1)]
        meant = [places[k:].flatten() for k in range(1, len(self.predictors) + 1)]
        return torch.cat(predictions, dim=1), torch.cat(meant)

    def oriented(self, x: Tensor, first: int) -> Tensor:
        """`x` with this direction's rows along axis `first`, the known ones before the predicted ones."""
        x = x.movedim(first + self.axis, first)
        return x.flip(first) if self.turned else x


class ContextBlock(nn.Module):
    """A residual block that sees, beside a patch's own row, the row before and never one after it."""

    def __init__(self, width: int, dims: int):
        super().__init__()
        convolution = CONVOLUTIONS[dims]
        sides = dims - 1
        self.narrow = convolution(width, width, 1)
        # padded by a row on both ends; the last row of the output is the one that would look ahead
        self.masked = convolution(width, width, (2, *[3] * sides), padding=1)
        self.widen = convolution(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, width, *grid)` as it came in."""
        seen = self.masked(self.narrow(x.relu()).relu())[:, :, :-1]
        return x + self.widen(seen.relu())
