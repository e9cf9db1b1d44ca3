"""Visible patches: what a ViT computes on when part of the image is masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class VisiblePatches(nn.Module):
    """Stands where timm drops patches, after position embeddings are added, and drops the hidden ones.

    It has no parameters, so names in the state dict stay timm's. Outside `see_only` it does
    what the module did that it replaces.

    prefix: tokens before the patches, always kept.
    with_indices: answer `(tokens, keep)`, from which timm's Eva gathers rotary embeddings.
    """

    def __init__(self, otherwise: nn.Module | None, *, prefix: int, with_indices: bool):
        super().__init__()
        self.otherwise = otherwise
        self.prefix = prefix
        self.with_indices = with_indices
        self.keep: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        if self.keep is not None:
            visible = take_patches(tokens, self.keep, self.prefix)
            return (visible, self.keep) if self.with_indices else visible
        if self.otherwise is not None:
            return self.otherwise(tokens)
        return (tokens, None) if self.with_indices else tokens


@contextmanager
def see_only(patches: VisiblePatches, keep: Tensor) -> Iterator[None]:
    """Within the block, forward passes see only the patches `keep (B, K)`."""
    patches.keep = keep
    try:
        yield
    finally:
        patches.keep = None


def take_patches(tokens: Tensor, keep: Tensor, prefix: int = 0) -> Tensor:
    """`(B, prefix + K, D)`: the prefix of tokens `(B, prefix + N, D)`, then patches `keep (B, K)` in that order."""
    patches = tokens[:, prefix:].gather(1, keep.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return torch.cat((tokens[:, :prefix], patches), 1) if prefix else patches
