"""Read views out of images, without aliasing and without reading padding.

Two ways, one meaning. `read_box` serves upright boxes: weights per axis and sample, the triangle
filter that torchvision calls antialias. `read_affine` serves any placement: bilinear samples from
the level of an average-pooled pyramid that fits the scale. Beyond the image's extent both see its
mirror image. Padding has no weight in either, but it must be finite.

The weights of `read_box` along an axis are a matrix over all pixels, nearly all of them 0. On a CPU
`box_taps` and `read_taps` do the same by the few pixels that count, and `read_bytes` does it in whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.views.geometry import Placement

POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
MOST_CARRIED = 0.75  # of an axis, where leaving the rest behind would cost more
MOST_SHRINK = 1.25  # of one level by bilinear samples; more would alias


def read_box(pixels: Tensor, extent: Tensor, placement: Placement, size: tuple[int, ...]) -> Tensor:
    """Views `(n, C, *size)` of upright boxes in `pixels` `(n, C, *S)`, anti-aliased exactly.

    Equals torchvision's `resized_crop(antialias=True)` up to the filter's reach: near a crop's
    border it reads the image beyond, where torchvision repeats the weights inside.
    """
    half = placement.axes.diagonal(dim1=1, dim2=2)
    matrices = [
        interpolation_matrix(placement.centre[:, axis], half[:, axis], extent[:, axis], out, pixels.shape[2 + axis])
        for axis, out in enumerate(size)
    ]
    return multiply_axes(pixels, matrices)


def interpolation_matrix(centre: Tensor, half: Tensor, extent: Tensor, out: int, length: int) -> Tensor:
    """Weights `(n, out, length)` that read `out` samples of the interval `centre -+ half` from `length` pixels."""
    positions, reach = samples(centre, half, extent, out)
    pixel = torch.arange(length, device=half.device)
    pixel = torch.where(pixel < extent[:, None], pixel, torch.inf)  # no weight for padding
    weights = (positions[:, :, None] - pixel[:, None]).abs_().neg_().add_(reach[:, None]).clamp_min_(0)
    return weights.div_(weights.sum(-1, keepdim=True))


def samples(centre: Tensor, half: Tensor, extent: Tensor, out: int) -> tuple[Tensor, Tensor]:
    """Positions `(n, out)` of samples in pixels, 0 at the first one's centre, and the filter's reach `(n, 1)`."""
    positions = centre[:, None] + half[:, None] * pixel_centres(out, half.device)
    return mirror(positions, extent[:, None]).sub_(0.5), (2 / out * half.abs()).clamp_min(1)[:, None]


def multiply_axes(x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """`x` `(n, C, *S)` multiplied along each axis by the image's own matrix."""
    for axis in reversed(range(len(matrices))):
        x = _multiply_axis(x, matrices[axis], axis)
    return x


def _multiply_axis(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    n, channels, *sizes = x.shape
    before, after = channels * math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    if axis == len(sizes) - 1:
        out = torch.bmm(x.reshape(n, before, -1), matrix.transpose(1, 2))
    else:
        out = torch.bmm(matrix.repeat_interleave(before, 0), x.reshape(n * before, -1, after))
    sizes[axis] = matrix.shape[1]
    return out.reshape(n, channels, *sizes)


@dataclass(frozen=True)
class Taps:
    """Which pixels along an axis each sample is a weighted sum of: `index` int32 and `weight`, `(n, out, taps)`."""

    index: Tensor
    weight: Tensor

    def __getitem__(self, images: slice) -> Taps:
        return Taps(self.index[images], self.weight[images])


def box_taps(extent: Tensor, placement: Placement, size: tuple[int, ...]) -> list[Taps]:
    """The weights of `read_box` along each axis, of the pixels within reach alone; for the CPU, since it waits."""
    half = placement.axes.diagonal(dim1=1, dim2=2)
    return [
        interpolation_taps(placement.centre[:, axis], half[:, axis], extent[:, axis], out)
        for axis, out in enumerate(size)
    ]


def interpolation_taps(centre: Tensor, half: Tensor, extent: Tensor, out: int) -> Taps:
    """What `interpolation_matrix` has apart from zeros."""
    positions, reach = samples(centre, half, extent, out)
    first = (positions - reach).floor_().add_(1)
    index = first[:, :, None] + torch.arange(math.ceil(2 * float(reach.max())))
    weight = (index - positions[:, :, None]).abs_().neg_().add_(reach[:, None]).clamp_min_(0)
    last = extent[:, None, None] - 1
    weight.masked_fill_((index < 0) | (index > last), 0)
    # the sum is exact in double precision, and so the same however many taps another image wants
    weight.div_(weight.sum(-1, keepdim=True, dtype=torch.float64))
    return Taps(index.clamp_min_(0).minimum(last).int(), weight)


def read_taps(x: Tensor, taps: Sequence[Taps]) -> Tensor:
    """What `multiply_axes` gives by matrices that are 0 but for `taps`."""
    near: list[Taps] = []
    for axis, each in enumerate(taps, 2):  # what no tap reads need not be carried along
        first, last = (int(end) for end in each.index.aminmax())
        if last + 1 - first > MOST_CARRIED * x.shape[axis]:
            first = 0
        else:
            x = x.narrow(axis, first, last + 1 - first)
        near.append(Taps(each.index - first, each.weight))
    for each in near:  # the first axis is read and becomes the last: after all of them they are in order again
        x = _read_first_axis(x, each).movedim(2, -1)
    return x.contiguous()


def _read_first_axis(x: Tensor, taps: Taps) -> Tensor:
    n, channels, length, *rest = x.shape
    row = torch.arange(0, n * channels * length, length, dtype=torch.int32).view(n, channels, 1, 1)
    index = (row + taps.index[:, None]).flatten(0, 2)
    weight = taps.weight[:, None].expand(-1, channels, -1, -1).flatten(0, 2)
    out = F.embedding_bag(index, x.reshape(n * channels * length, -1), per_sample_weights=weight, mode="sum")
    return out.view(n, channels, -1, *rest)


def read_bytes(pixels: Tensor, placement: Placement, size: tuple[int, ...]) -> Tensor:
    """Views `(n, C, *size)` of upright boxes that begin and end between `pixels` `(n, C, H, W)` uint8, on a CPU.

    What `read_box` reads, in whole numbers, but that nothing is read beyond the box: torchvision's
    `resized_crop(antialias=True)` bit for bit.
    """
    half = placement.axes.diagonal(dim1=1, dim2=2)
    first, last = ((placement.centre + side * half.abs()).round().int().tolist() for side in (-1, 1))
    views = torch.empty((*pixels.shape[:2], *size))
    for image, view, (top, left), (bottom, right) in zip(pixels, views, first, last, strict=True):
        crop = image[None, :, top:bottom, left:right]
        view.copy_(F.interpolate(crop, size, mode="bilinear", antialias=True)[0])
    for axis in range(len(size)):
        mirrored = (half[:, axis] < 0).nonzero().squeeze(1)
        if len(mirrored):
            views[mirrored] = views[mirrored].flip(2 + axis)
    return views


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
