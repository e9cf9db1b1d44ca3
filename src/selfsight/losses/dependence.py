"""Statistical dependence of features whose dimensions need not match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfsight.distributed import gather, world_size
from selfsight.losses.blocks import block_height
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
    x, y = (gather(features.flatten(1)) for features in (x, y))
    ab, aa, bb = _MeanProducts.apply(x, y, floor, estimator == "unbiased").unbind()
    # A collapsed side has no variance at all: a share of the floor keeps the quotient and its slope finite.
    scale_a, scale_b = (variance.clamp(min=1e-6 * floor).sqrt() for variance in (aa, bb))
    return _signed_root(ab / (scale_a * scale_b))


class _MeanProducts(torch.autograd.Function):
    """Means over all pairs of AB, AA and BB, A and B the centred distances of the rows of `x` and of `y`.

    Centring is an orthogonal projection, so the derivative of such a product with respect to one side's
    distances is the other side's centred matrix, which is centred already. The derivative of AB with respect to
    a row of `x` is thus the sum of `2 B_ij (x_i - x_j) / |x_i - x_j|`. Backward needs no more than forward: some
    rows of both matrices at a time, computed again where they are not all held. No second derivatives.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, floor: float, unbiased: bool) -> Tensor:
        a, b = ctx.sides = tuple(_Side(features, floor, unbiased) for features in (x, y))
        products = x.new_zeros(3)
        for (_, a_rows), (_, b_rows) in zip(a.blocks(), b.blocks(), strict=True):
            products += torch.stack([(p * q).sum() for p, q in ((a_rows, b_rows), (a_rows, a_rows), (b_rows, b_rows))])
        return products / len(x) ** 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        (a, b), wanted = ctx.sides, ctx.needs_input_grad[:2]
        ab, aa, bb = (2 * upstream[0] / len(a.x) ** 2).unbind()
        gradients = [torch.empty_like(side.x) if want else None for side, want in zip(ctx.sides, wanted, strict=True)]
        for part, (a_distances, a_rows), (b_distances, b_rows) in zip(a.parts(), a.blocks(), b.blocks(), strict=True):
            if gradients[0] is not None:
                gradients[0][part] = a.pull(part, a_distances, ab * b_rows + 2 * aa * a_rows)
            if gradients[1] is not None:
                gradients[1][part] = b.pull(part, b_distances, ab * a_rows + 2 * bb * b_rows)
        return (*gradients, None, None)


class _Side:
    """Distances between the rows of `x` `(N, D)`, and the same centred, some rows at a time."""

    def __init__(self, x: Tensor, floor: float, unbiased: bool):
        self.x = x - x.mean(0)
        self.floor, self.unbiased = floor, unbiased
        self.squares = self.x.square().sum(1)
        self.height = block_height(x.device, len(x))
        self.whole: Tensor | None = None
        if len(x) <= self.height:
            self.whole = self.distances(slice(0, len(x)))
        self.sums = torch.empty_like(self.squares)  # at once: small tensors between blocks fragment the heap
        for part in self.parts():
            self.sums[part] = self.distances(part).sum(1)

    def parts(self) -> list[slice]:
        """The rows of each block."""
        return [slice(start, start + self.height) for start in range(0, len(self.x), self.height)]

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Distances `(R, N)` of each block, and the same double-centred or U-centred."""
        for part in self.parts():
            distances = self.distances(part)
            yield distances, self.centre(distances, part)

    def distances(self, part: slice) -> Tensor:
        """Euclidean distances `(R, N)` with squares of at least `floor`, those to itself too, or 0 if unbiased.

        From one matrix product of the centred rows: in float32 an entry's square is off by about
        1e-6 of the largest squared norm, which matters only to pairs much closer than the rest.
        """
        if self.whole is not None:
            return self.whole
        distances = self.x[part] @ self.x.T
        distances.mul_(-2).add_(self.squares[part, None]).add_(self.squares)
        self.diagonal(distances, part).zero_()
        distances.clamp_(min=self.floor).sqrt_()
        if self.unbiased:
            self.diagonal(distances, part).zero_()
        return distances

    def centre(self, distances: Tensor, part: slice) -> Tensor:
        """Those rows without the means of rows and columns."""
        count, mine = len(self.x), self.sums[part, None]
        if not self.unbiased:
            return distances - mine / count - (self.sums - self.sums.mean()) / count
        total = self.sums.sum() / ((count - 1) * (count - 2))
        centred = distances - mine / (count - 2) - (self.sums / (count - 2) - total)
        self.diagonal(centred, part).zero_()
        return centred

    def pull(self, part: slice, distances: Tensor, weights: Tensor) -> Tensor:
        """Sums over `j` of `weights_ij (x_i - x_j) / distances_ij`, `(R, D)`; there is no slope below the floor."""
        weights = weights.div_(distances).masked_fill_(distances <= distances.new_tensor(self.floor).sqrt(), 0.0)
        return weights.sum(1, keepdim=True) * self.x[part] - weights @ self.x

    def diagonal(self, rows: Tensor, part: slice) -> Tensor:
        """A view of each row's own entry."""
        return rows.diagonal(part.start)


def _signed_root(square: Tensor) -> Tensor:
    """`sign(square) * sqrt(|square|)`, with the chord in place of the infinite slope at 0."""
    size = square.abs()
    root = size.clamp(min=SMALLEST_SQUARE).sqrt()
    return torch.where(size < SMALLEST_SQUARE, square / SMALLEST_SQUARE**0.5, square.sign() * root)
