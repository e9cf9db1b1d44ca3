"""Read views out of images, without aliasing and without reading padding.

Two ways, one meaning. `read_box` serves upright boxes: one matrix of interpolation weights
per axis and sample, the triangle filter that torchvision calls antialias. `read_affine`
serves any placement: bilinear samples from the level of an average-pooled pyramid that fits
the scale. Beyond the image's extent both see its mirror image. Padding has no weight in either,
but it must be finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.views.geometry import Placement

BLOCK = 75  # rows of a large view that are multiplied at once
POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
MOST_SHRINK = 1.25  # of one level by bilinear samples; more would alias


def read_box(pixels: Tensor, extent: Tensor, placement: Placement, size: tuple[int, ...]) -> Tensor:
    """Views `(n, C, *size)` of upright boxes in `pixels` `(n, C, *S)`, anti-aliased exactly.

    Equals torchvision's `resized_crop(antialias=True)` up to the filter's reach: near a crop's
    border it reads the image beyond, where torchvision repeats the weights inside.
    """
    half = placement.axes.diagonal(dim1=1, dim2=2)
    weights = [
        interpolation_weights(placement.centre[:, axis], half[:, axis], extent[:, axis], pixels.shape[2 + axis], out)
        for axis, out in enumerate(size)
    ]
    return along_axes(pixels, weights)


@dataclass(frozen=True)
class Banded:
    """A matrix for each image that is 0 outside blocks: `matrix` `(n, out, S)`, blocks of rows and their columns."""

    matrix: Tensor
    blocks: list[tuple[slice, slice]]


def interpolation_weights(centre: Tensor, half: Tensor, extent: Tensor, length: int, out: int) -> Banded:
    """Weights that read `out` samples of the interval `centre -+ half` from `length` pixels."""
    positions = centre[:, None] + half[:, None] * pixel_centres(out, half.device)
    positions = mirror(positions, extent[:, None]).sub_(0.5)
    reach = (2 / out * half.abs()).clamp_min(1)[:, None]
    pixel = torch.arange(length, device=half.device)
    pixel = torch.where(pixel < extent[:, None], pixel, torch.inf)  # no weight for padding
    weights = (positions[:, :, None] - pixel[:, None]).abs_().neg_().add_(reach[:, None]).clamp_min_(0)
    weights.div_(weights.sum(-1, keepdim=True))
    if out <= BLOCK or weights.device.type != "cpu":  # it is not worth waiting for CUDA to know
        return Banded(weights, [(slice(0, out), slice(0, length))])
    first, last = (positions - reach).amin(0).ceil().tolist(), (positions + reach).amax(0).floor().tolist()
    return Banded(weights, blocks_of(first, last, length))


def blocks_of(first: Sequence[float], last: Sequence[float], length: int) -> list[tuple[slice, slice]]:
    """Blocks of rows, and the columns from the first to the last that a row of each reads."""
    rows = [slice(start, min(start + BLOCK, len(first))) for start in range(0, len(first), BLOCK)]
    return [(block, slice(max(0, int(min(first[block]))), min(length, int(max(last[block])) + 1))) for block in rows]


def along_axes(x: Tensor, weights: Sequence[Banded]) -> Tensor:
    """`x` `(n, C, *S)` multiplied along each axis by the image's own matrix."""
    starts = [min(columns.start for _, columns in each.blocks) for each in weights]
    stops = [max(columns.stop for _, columns in each.blocks) for each in weights]
    x = x[(..., *map(slice, starts, stops))]
    for axis in reversed(range(len(weights))):
        parts = []
        for rows, columns in weights[axis].blocks:
            read = x.narrow(2 + axis, columns.start - starts[axis], columns.stop - columns.start)
            parts.append(_along_axis(read, weights[axis].matrix[:, rows, columns], axis))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, 2 + axis)
    return x


def _along_axis(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    n, channels, *sizes = x.shape
    before, after = channels * math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    if axis == len(sizes) - 1:
        out = torch.bmm(x.reshape(n, before, -1), matrix.transpose(1, 2))
    else:
        out = torch.bmm(matrix.repeat_interleave(before, 0), x.reshape(n * before, -1, after))
    sizes[axis] = matrix.shape[1]
    return out.reshape(n, channels, *sizes)


def read_affine(pixels: Tensor, extent: Tensor, placement: Placement, size: tuple[int, ...]) -> Tensor:
    """Views `(n, C, *size)` of any placement in `pixels` `(n, C, *S)`."""
    spatial, dims = pixels.shape[2:], len(size)
    grid = torch.stack(torch.meshgrid(*(pixel_centres(s, pixels.device) for s in size), indexing="ij"), -1)
    points = grid.reshape(1, -1, dims) @ placement.axes.transpose(1, 2) + placement.centre[:, None]
    points = mirror(points, extent[:, None])

    levels = max(0, math.ceil(math.log2(max(spatial) / min(size) / MOST_SHRINK)))
    atlas, starts = pyramid(pixels, extent, levels)
    steps = placement.axes.norm(dim=1) * (2 / torch.tensor(size, device=pixels.device))
    level = (steps.amax(1) / MOST_SHRINK).log2().ceil().clamp(0, levels)
    shrink = torch.exp2(level).view(-1, 1, 1)
    last = (extent[:, None] / shrink).ceil() - 1
    points = (points / shrink - 0.5).clamp_min(0).minimum(last)
    points[..., -1] += starts[level.long()][:, None]

    sizes = torch.tensor(atlas.shape[2:], device=pixels.device)
    points = ((2 * points + 1) / sizes - 1).flip(-1).reshape(-1, *size, dims)
    return F.grid_sample(atlas, points, mode="bilinear", padding_mode="border", align_corners=False)


def pyramid(pixels: Tensor, extent: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """The image and its halvings side by side along the last axis, and where each starts.

    A halving averages what lies inside the image alone.
    """
    pool = POOL[extent.shape[1]]
    level, weight = pixels, inside_extent(extent, pixels.shape[2:]).to(pixels.dtype)
    parts = [level]
    for _ in range(levels):
        level, weight = pool(level * weight, 2, ceil_mode=True), pool(weight, 2, ceil_mode=True)
        level = level / weight.clamp_min(1e-6)
        parts.append(level)
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + part.shape[-1])
    padded = [F.pad(part, [0, 0, *_missing(part, pixels)]) for part in parts]
    return torch.cat(padded, -1), torch.tensor(starts, device=pixels.device)


def inside_extent(extent: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """`(n, 1, *spatial)` booleans, true where an image fills its canvas."""
    inside = torch.ones((), dtype=torch.bool, device=extent.device)
    for axis, length in enumerate(spatial):
        shape = [1] * len(spatial)
        shape[axis] = length
        pixel = torch.arange(length, device=extent.device).view(1, 1, *shape)
        inside = inside & (pixel < extent[:, axis].view(-1, 1, *[1] * len(spatial)))
    return inside


def mirror(positions: Tensor, extent: Tensor) -> Tensor:
    """Positions reflected into [0, extent]."""
    turn = 2 * extent
    return extent - (positions - turn * (positions / turn).floor() - extent).abs()


def pixel_centres(count: int, device: torch.device) -> Tensor:
    """Centres of `count` pixels that together fill [-1, 1]."""
    return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1


def _missing(part: Tensor, whole: Tensor) -> list[int]:
    missing: list[int] = []
    for axis in range(whole.ndim - 2, 1, -1):
        missing += [0, whole.shape[axis] - part.shape[axis]]
    return missing
