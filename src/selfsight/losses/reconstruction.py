"""Losses and patches for methods that fill in what was masked."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from selfsight.distributed import reduce_sum
from selfsight.precision import full_precision


@full_precision
def masked_reconstruction(prediction: Tensor, target: Tensor, masked: Tensor, normalise: bool = True) -> Tensor:
    """Mean squared error over the masked patches of all ranks.

    prediction, target: `(B, N, P)`; masked: `(B, N)`, true or 1 where a patch was hidden.
    With `normalise` each target patch is standardised first.

    He et al.: Masked autoencoders (CVPR 2022), section 3.
    """
    target = normalise_patches(target) if normalise else target
    errors = (prediction - target).square().mean(-1)
    masked = masked.to(errors.dtype)
    total, count = reduce_sum(torch.stack([(errors * masked).sum(), masked.sum()]))
    return total / count.clamp(min=1)


def normalise_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Each patch `(..., P)` with mean 0 and unbiased variance 1."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + eps).sqrt()


def patchify(images: Tensor, patch: int) -> Tensor:
    """Patches `(B, N, patch**len(S) * C)` of images `(B, C, *S)`, `S` two or three sizes.

    Patches in raster order; within one the pixels in raster order, the channel last.
    """
    batch, channels, *sizes = images.shape
    if any(size % patch for size in sizes):
        raise ValueError(f"image size {tuple(sizes)} is no multiple of the patch {patch}: choose another size or patch")
    axes = len(sizes)
    split = images.reshape(batch, channels, *(part for size in sizes for part in (size // patch, patch)))
    grid, within = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    return split.permute(0, *grid, *within, 1).reshape(batch, -1, patch**axes * channels)


def unpatchify(patches: Tensor, patch: int, grid: Sequence[int]) -> Tensor:
    """Images `(B, C, *S)` from `patchify`'s patches, `grid` of them along each axis."""
    batch, count, width = patches.shape
    axes = len(grid)
    if count != prod(grid):
        raise ValueError(f"{count} patches do not fill a grid of {tuple(grid)}")
    split = patches.reshape(batch, *grid, *[patch] * axes, width // patch**axes)
    order = [axis for pair in zip(range(1, 1 + axes), range(1 + axes, 1 + 2 * axes), strict=True) for axis in pair]
    return split.permute(0, 1 + 2 * axes, *order).reshape(batch, -1, *(size * patch for size in grid))
