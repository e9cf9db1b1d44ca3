"""Statistical dependence of features whose dimensions need not match."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selfsight.distributed import gather
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
    centre = _double_centre if estimator == "biased" else _u_centre
    a, b = (centre(_distances(gather(features.flatten(1)), floor)) for features in (x, y))
    # A collapsed side has no variance at all: a share of the floor keeps the quotient and its slope finite.
    scale_a, scale_b = (matrix.square().mean().clamp(min=1e-6 * floor).sqrt() for matrix in (a, b))
    return _signed_root((a * b).mean() / (scale_a * scale_b))


def _distances(x: Tensor, floor: float) -> Tensor:
    """Euclidean distances `(N, N)` of the rows, with squares of at least `floor`, the diagonal too.

    From one matrix product of the centred rows: in float32 an entry's square is off by about
    1e-6 of the largest squared norm, which matters only to pairs much closer than the rest.
    """
    x = x - x.mean(0)
    norms = x.square().sum(1)
    squares = norms[:, None] + norms - 2 * x @ x.T
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    return squares.masked_fill(itself, 0).clamp(min=floor).sqrt()


def _double_centre(distances: Tensor) -> Tensor:
    return distances - distances.mean(0) - distances.mean(1, keepdim=True) + distances.mean()


def _u_centre(distances: Tensor) -> Tensor:
    count = len(distances)
    if count < 4:
        raise ValueError(f"the unbiased estimator needs at least 4 samples, got {count}: raise batch_size")
    itself = torch.eye(count, dtype=torch.bool, device=distances.device)
    distances = distances.masked_fill(itself, 0)
    rows = distances.sum(1) / (count - 2)
    total = distances.sum() / ((count - 1) * (count - 2))
    return (distances - rows[:, None] - rows + total).masked_fill(itself, 0)


def _signed_root(square: Tensor) -> Tensor:
    """`sign(square) * sqrt(|square|)`, with the chord in place of the infinite slope at 0."""
    size = square.abs()
    root = size.clamp(min=SMALLEST_SQUARE).sqrt()
    return torch.where(size < SMALLEST_SQUARE, square / SMALLEST_SQUARE**0.5, square.sign() * root)
