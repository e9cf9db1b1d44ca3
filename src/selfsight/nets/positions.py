"""Where a patch is: fixed position embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsight.nets.encoder import Encoder


def sin_cos_positions(grid: tuple[int, ...], dim: int) -> Tensor:
    """Fixed positions `(N, dim)` of a grid's cells: per axis, last axis first, sines then cosines.

    He et al. (CVPR 2022) in two axes; `dim` is a multiple of four in two, of six in three.
    """
    share = 2 * len(grid)
    if dim % share:
        raise ValueError(f"sin-cos positions of a grid with {len(grid)} axes want a multiple of {share}, got {dim}")
    frequency = 10000.0 ** (-torch.arange(dim // share, dtype=torch.float64) * share / dim)
    axes = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in reversed(axes)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1).float()


@torch.no_grad()
def fix_positions(encoder: Encoder) -> None:
    """Give a ViT fixed positions where timm's are learned, unless it came with weights.

    A ViT without absolute positions (rotary ones, say) is left as it is.
    """
    positions = getattr(encoder.model, "pos_embed", None)
    if positions is None or not encoder.fresh:
        return
    fixed = sin_cos_positions(encoder.grid(), positions.shape[-1])
    prefix = positions.shape[1] - len(fixed)
    positions[:, :prefix] = 0
    positions[:, prefix:] = fixed
    positions.requires_grad_(False)
