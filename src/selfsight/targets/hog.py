"""Histograms of oriented gradients."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def hog(images: Tensor, bins: int = 24, cell: int = 8) -> Tensor:
    """Histograms `(B, C, bins, H // cell, W // cell)` of gradient orientation of images `(B, C, H, W)`.

    Sobel gradients of each channel, zeros beyond the border. Orientations are unsigned, bin `k`
    is centred on `k * pi / bins`, and each pixel divides its magnitude linearly between the two
    nearest bins. A cell holds the mean over its pixels; there is no block normalisation. Rows
    and columns beyond the last whole cell are left out.

    Dalal, Triggs: Histograms of oriented gradients (CVPR 2005); Kinakh et al.: MV-MR (2024).
    """
    rows, columns = images.shape[2] // cell, images.shape[3] // cell
    if not rows * columns:
        raise ValueError(f"images of {tuple(images.shape[2:])} pixels hold no cell of {cell} x {cell}: lower cell")
    across, down = _sobel(images)
    across, down = (gradient[:, :, : rows * cell, : columns * cell] for gradient in (across, down))
    magnitude = torch.hypot(across, down)
    position = torch.atan2(down, across).remainder(math.pi) * (bins / math.pi)
    lower = position.floor()
    share = position - lower
    lower = lower.long() % bins
    upper = (lower + 1) % bins

    first = (torch.arange(rows * cell, device=images.device) // cell * columns)[:, None]
    cells = bins * (first + torch.arange(columns * cell, device=images.device) // cell)
    histogram = images.new_zeros(images.shape[0], images.shape[1], rows * columns * bins)
    histogram = histogram.scatter_add(2, (cells + lower).flatten(2), (magnitude * (1 - share)).flatten(2))
    histogram = histogram.scatter_add(2, (cells + upper).flatten(2), (magnitude * share).flatten(2))
    return histogram.unflatten(2, (rows, columns, bins)).movedim(4, 2) / cell**2


def _sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients along the width and along the height, by the 3 x 3 Sobel kernels."""
    padded = F.pad(images, (1, 1, 1, 1))
    smooth_down = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    smooth_across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return smooth_down[..., 2:] - smooth_down[..., :-2], smooth_across[:, :, 2:] - smooth_across[:, :, :-2]
