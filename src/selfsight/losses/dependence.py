"""Statistical dependence of features whose dimensions need not match."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from selfsight.distributed import gather, world_size
from selfsight.losses.blocks import block_height, stack_rows, sum_over_rows
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
    a, b = (_Side(gather(features.flatten(1)), floor, estimator == "unbiased") for features in (x, y))
    ab, aa, bb = a.mean_product(b), a.mean_product(a), b.mean_product(b)
    # A collapsed side has no variance at all: a share of the floor keeps the quotient and its slope finite.
    scale_a, scale_b = (variance.clamp(min=1e-6 * floor).sqrt() for variance in (aa, bb))
    return _signed_root(ab / (scale_a * scale_b))


class _Side:
    """Centred distances of the rows of `x` `(N, D)`, as a whole where that is one block, else some rows at a time.

    The means are constants to autograd, and yet the gradients are exact: centring is an orthogonal
    projection, so the derivative of a product with respect to one side's distances is the other
    side's centred matrix, which is centred already.
    """

    def __init__(self, x: Tensor, floor: float, unbiased: bool):
        self.x = x - x.mean(0)
        self.floor, self.unbiased = floor, unbiased
        count = len(x)
        self.itself = torch.arange(count, device=x.device)
        distances = self.distances(self.x, self.itself, self.x) if count <= block_height(x.device, count) else None
        with torch.no_grad():
            if distances is None:
                of_rows = partial(self.row_sums, x=self.x)
                self.sums = stack_rows(of_rows, self.x, self.itself, columns=count)
            else:
                self.sums = distances.sum(1)
        self.whole = None if distances is None else self.centre(distances, self.itself)

    def mean_product(self, other: _Side) -> Tensor:
        """Mean over all pairs of both sides' centred distances, multiplied."""
        if self.whole is not None and other.whole is not None:
            return (self.whole * other.whole).mean()

        def product(rows: Tensor, others: Tensor, itself: Tensor, x: Tensor, y: Tensor) -> Tensor:
            mine = self.centred(rows, itself, x)
            return (mine * (mine if other is self else other.centred(others, itself, y))).sum()

        return sum_over_rows(product, [self.x, other.x, self.itself], [self.x, other.x]) / len(self.x) ** 2

    def centred(self, rows: Tensor, itself: Tensor, x: Tensor) -> Tensor:
        """Rows of the double-centred or U-centred distances."""
        return self.centre(self.distances(rows, itself, x), itself)

    def distances(self, rows: Tensor, itself: Tensor, x: Tensor) -> Tensor:
        """Euclidean distances `(R, N)` with squares of at least `floor`, those to itself too, or 0 if unbiased.

        From one matrix product of the centred rows: in float32 an entry's square is off by about
        1e-6 of the largest squared norm, which matters only to pairs much closer than the rest.
        """
        squares = rows.square().sum(1, keepdim=True) + x.square().sum(1) - 2 * rows @ x.T
        distances = squares.scatter(1, itself[:, None], 0).clamp(min=self.floor).sqrt()
        return distances.scatter(1, itself[:, None], 0) if self.unbiased else distances

    def row_sums(self, rows: Tensor, itself: Tensor, x: Tensor) -> Tensor:
        """Sums of some rows of the distances."""
        return self.distances(rows, itself, x).sum(1)

    def centre(self, distances: Tensor, itself: Tensor) -> Tensor:
        """Those rows without the means of rows and columns."""
        count, mine = len(self.x), self.sums[itself, None]
        if not self.unbiased:
            return distances - (mine + (self.sums - self.sums.mean())) / count
        total = self.sums.sum() / ((count - 1) * (count - 2))
        return (distances - (mine + self.sums) / (count - 2) + total).scatter(1, itself[:, None], 0)


def _signed_root(square: Tensor) -> Tensor:
    """`sign(square) * sqrt(|square|)`, with the chord in place of the infinite slope at 0."""
    size = square.abs()
    root = size.clamp(min=SMALLEST_SQUARE).sqrt()
    return torch.where(size < SMALLEST_SQUARE, square / SMALLEST_SQUARE**0.5, square.sign() * root)
