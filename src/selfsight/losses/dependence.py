"""Statistical dependence of features whose dimensions need not match."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selfsight.distributed import gather, world_size
from selfsight.losses.blocks import block_height, stack_parts
from selfsight.precision import full_precision

SMALLEST_SQUARE = 1e-4
"""Squared correlation below which the root is replaced by its chord, so that its slope stays at most 100."""


@full_precision
def distance_correlation(
    x: Tensor,
    y: Tensor,
    estimator: Literal["biased", "unbiased"] = "biased",
    floor: float = 1e-4,
) -> Tensor:
    """Distance correlation of `x` `(N, ...)` and `y` `(N, ...)` over all ranks, not its square.

    biased: the V-statistic, in [0, 1], 0 only for independence, but close to 1 for any wide
    features of a small batch. unbiased: from U-centred distances, about 0 for independent
    features of any width; it may be negative and keeps its sign under the root. `floor`, above
    0, is the least squared distance. Below .01 the value is linear in its square.

    Székely, Rizzo, Bakirov: Measuring and testing dependence by correlation of distances (2007);
    Székely, Rizzo: Partial distance correlation (2014).
    """
    if estimator not in ("biased", "unbiased"):
        raise ValueError(f"estimator is {estimator!r}: use 'biased' or 'unbiased'")
    if len(x) != len(y):
        raise ValueError(f"x and y describe the same samples, got {len(x)} and {len(y)} rows")
    if estimator == "unbiased" and world_size() * len(x) < 4:
        raise ValueError(f"the unbiased estimator needs at least 4 samples, got {len(x)}: raise batch_size")
    sides = [_Side(gather(features.flatten(1)), floor, estimator == "unbiased") for features in (x, y)]

    def products(rows: slice) -> Tensor:
        a, b = (side.centred(rows) for side in sides)
        return torch.stack([(a * b).sum(1), a.square().sum(1), b.square().sum(1)], dim=1)

    count = len(sides[0].x)
    ab, aa, bb = stack_parts(products, count, columns=count, device=x.device).sum(0) / count**2
    # A collapsed side has no variance at all: a share of the floor keeps the quotient and its slope finite.
    scale_a, scale_b = (variance.clamp(min=1e-6 * floor).sqrt() for variance in (aa, bb))
    return _signed_root(ab / (scale_a * scale_b))


class _Side:
    """Centred distances of the rows of `x` `(N, D)`, a block of rows at a time.

    The means are constants to autograd, and yet the gradients are exact: centring is an orthogonal
    projection, so the derivative of a product with respect to one side's distances is the other
    side's centred matrix, which is centred already.
    """

    def __init__(self, x: Tensor, floor: float, unbiased: bool):
        self.x = x - x.mean(0)
        self.norms = self.x.square().sum(1)
        self.floor, self.unbiased = floor, unbiased
        count = len(x)
        self.whole = self.distances(slice(0, count)) if count <= block_height(x.device, count) else None
        with torch.no_grad():
            self.sums = stack_parts(lambda rows: self.rows(rows).sum(1), count, columns=count, device=x.device)

    def rows(self, rows: slice) -> Tensor:
        """Rows of the distances, kept where all of them make one block."""
        return self.distances(rows) if self.whole is None else self.whole[rows]

    def distances(self, rows: slice) -> Tensor:
        """Euclidean distances `(R, N)` with squares of at least `floor`, those to itself too, or 0 if unbiased.

        From one matrix product of the centred rows: in float32 an entry's square is off by about
        1e-6 of the largest squared norm, which matters only to pairs much closer than the rest.
        """
        squares = self.norms[rows, None] + self.norms - 2 * self.x[rows] @ self.x.T
        distances = squares.masked_fill_(self.itself(rows), 0).clamp(min=self.floor).sqrt()
        return distances.masked_fill(self.itself(rows), 0) if self.unbiased else distances

    def centred(self, rows: slice) -> Tensor:
        """Rows of the double-centred or U-centred distances."""
        count, mine = len(self.x), self.sums[rows, None]
        if not self.unbiased:
            return self.rows(rows) - (mine + (self.sums - self.sums.mean())) / count
        total = self.sums.sum() / ((count - 1) * (count - 2))
        return (self.rows(rows) - (mine + self.sums) / (count - 2) + total).masked_fill(self.itself(rows), 0)

    def itself(self, rows: slice) -> Tensor:
        """Where a row meets itself."""
        position = torch.arange(len(self.x), device=self.x.device)
        return position[rows, None] == position


def _signed_root(square: Tensor) -> Tensor:
    """`sign(square) * sqrt(|square|)`, with the chord in place of the infinite slope at 0."""
    size = square.abs()
    root = size.clamp(min=SMALLEST_SQUARE).sqrt()
    return torch.where(size < SMALLEST_SQUARE, square / SMALLEST_SQUARE**0.5, square.sign() * root)
