"""Kernels: how alike two images are by what is known about them, 1 for the same value and less the further apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Kernel = Literal["rbf", "gaussian", "cauchy", "epanechnikov", "linear", "cosine"]
Rule = Literal["scott", "silverman"]
KERNELS: tuple[str, ...] = get_args(Kernel)
RULES: tuple[str, ...] = get_args(Rule)


def kernel_weights(
    rows: Tensor, columns: Tensor, kernel: str = "rbf", bandwidth: float | Sequence[float] = 1.0
) -> Tensor:
    """`(R, N)` kernel of every row value with every column value.

    rows, columns: `(R, C)` and `(N, C)` values, or `(R,)` and `(N,)`; bandwidth: one number, or one for
    each of the `C`. With `u` the Euclidean length of the difference over the bandwidth:

    rbf `exp(-u^2 / 2)`, gaussian the same as a density (over `(2 pi)^(C/2)` and the bandwidths, so that it
    is not 1 at 0), cauchy `1 / (1 + u^2)`, and, 0 where `u > 1`, epanechnikov `1 - u^2`, linear `1 - u`,
    cosine `cos(pi u / 2)`.
    """
    rows, columns = (values[:, None] if values.ndim == 1 else values for values in (rows, columns))
    widths = each_column(bandwidth, rows.shape[1])
    squared = torch.zeros((), dtype=rows.dtype, device=rows.device)
    for number, width in enumerate(widths):
        squared = squared + ((rows[:, number, None] - columns[:, number]) / width).square()
    if kernel == "rbf":
        return (-squared / 2).exp()
    if kernel == "gaussian":
        return (-squared / 2).exp() / math.prod(math.sqrt(2 * math.pi) * width for width in widths)
    if kernel == "cauchy":
        return 1 / (1 + squared)
    if kernel == "epanechnikov":
        return (1 - squared).clamp(min=0)
    if kernel == "linear":
        return (1 - squared.sqrt()).clamp(min=0)
    if kernel == "cosine":
        return (squared.sqrt().clamp(max=1) * (math.pi / 2)).cos() * (squared < 1)
    raise ValueError(f"no kernel {kernel!r}: there are {', '.join(KERNELS)}")


def each_column(bandwidth: float | Sequence[float], columns: int) -> tuple[float, ...]:
    """One bandwidth for each column."""
    widths = (float(bandwidth),) * columns if isinstance(bandwidth, int | float) else tuple(map(float, bandwidth))
    if len(widths) != columns or not all(0 < width < math.inf for width in widths):
        raise ValueError(f"bandwidth is {bandwidth}: give a positive number, or as many as columns, {columns}")
    return widths


def rule_of_thumb(values: Tensor, rule: str) -> tuple[float, ...]:
    """A bandwidth for each column of `values` `(N, C)`: its standard deviation times Scott's or Silverman's factor.

    Rows with NaN are left out. Scott: Multivariate Density Estimation (1992); Silverman: Density Estimation (1986).
    """
    known = values[values.isfinite().all(1)].double()
    count, columns = known.shape
    if rule not in RULES:
        raise ValueError(f"no rule {rule!r} for the bandwidth: give a number, or one of {', '.join(RULES)}")
    shrunk = count if rule == "scott" else count * (columns + 2) / 4
    return tuple((known.std(0) * shrunk ** (-1 / (columns + 4))).tolist())
