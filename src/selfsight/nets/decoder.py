"""A light ViT decoder that predicts pixels of all patches from the visible ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from selfsight.nets.initial import draw_linear
from selfsight.nets.positions import sin_cos_positions


class PatchDecoder(nn.Module):
    """Visible tokens and one learned mask token to pixels of every patch.

    He et al.: Masked Autoencoders Are Scalable Vision Learners (CVPR 2022), section 3.

    width: of the encoder's tokens. grid: patches along each axis. patch: pixels a side.
    prefix: the encoder's tokens before the patches, which pass through and are discarded.
    """

    positions: Tensor

    def __init__(
        self,
        width: int,
        grid: tuple[int, ...],
        patch: int,
        *,
        channels: int = 3,
        dim: int = 512,
        depth: int = 8,
        heads: int = 16,
        prefix: int = 1,
    ):
        super().__init__()
        self.prefix = prefix
        self.embed = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        self.register_buffer("positions", sin_cos_positions(grid, dim), persistent=False)
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.Sequential(*(Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)))
        self.norm = norm(dim)
        self.predict = nn.Linear(dim, patch ** len(grid) * channels)
        self.apply(draw_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Pixels `(B, N, patch**2 * C)` of all N patches, in the image's order.

        tokens: `(B, prefix + K, width)` from the encoder. keep: `(B, K)`, the patches they stand for.
        """
        x = self.embed(tokens)
        patches = self.place(x[:, self.prefix :], keep) + self.positions
        x = self.norm(self.blocks(torch.cat((x[:, : self.prefix], patches), 1)))
        return self.predict(x[:, self.prefix :])

    def place(self, visible: Tensor, keep: Tensor) -> Tensor:
        """`(B, N, dim)`: visible tokens `(B, K, dim)` at their places, the mask token at all others."""
        batch, _, dim = visible.shape
        everywhere = self.mask_token.to(visible.dtype).expand(batch, len(self.positions), dim)
        return everywhere.scatter(1, keep.unsqueeze(-1).expand(-1, -1, dim), visible)
