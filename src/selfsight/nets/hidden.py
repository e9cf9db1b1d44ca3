"""Hidden patches: a token in their place, before positions are added."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def hiding(model: Any, hidden: Tensor, token: Tensor) -> Iterator[None]:
    """Within the block, forward passes of a timm model see `token (D,)` in place of the patches `hidden (B, N)`.

    Patches count row by row. Whatever embeds patches in `patch_embed` will do: ViT, Eva, DINOv2 and Swin
    answer `(B, H, W, D)` or `(B, N, D)` there.

    Raises:
        ValueError: for a net that embeds no patches, or for another number of them.
    """
    embed = getattr(model, "patch_embed", None)
    if not isinstance(embed, nn.Module):
        raise ValueError(f"{type(model).__name__} embeds no patches, so that none can be hidden: use a ViT or a Swin")

    def put_token(_: nn.Module, __: Any, patches: Tensor) -> Tensor:
        flat = patches.flatten(1, -2)
        if hidden.shape != flat.shape[:2] or token.shape != flat.shape[2:]:
            raise ValueError(
                f"{len(flat)} images have {flat.shape[1]} patches of width {flat.shape[2]}, hidden is "
                f"{tuple(hidden.shape)} and token {tuple(token.shape)}: give one boolean for each patch, row by row"
            )
        return torch.where(hidden[..., None], token.to(flat.dtype), flat).view(patches.shape)

    handle = embed.register_forward_hook(put_token)
    try:
        yield
    finally:
        handle.remove()
