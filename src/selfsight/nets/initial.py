"""Initial weights of vision transformers as the authors of a method draw them, where timm draws otherwise."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import nn

from selfsight.nets.encoder import Encoder

PREFIX_TOKENS = ("cls_token", "reg_token")


@torch.no_grad()
def draw_as_mae(encoder: Encoder) -> None:
    """Draw a ViT's weights as MAE does, unless they were loaded: every linear layer by Xavier's uniform rule with
    biases 0, the patch projection by the same rule with its bias as it is, prefix tokens with a deviation of .02.

    He et al.: Masked Autoencoders Are Scalable Vision Learners (CVPR 2022), appendix A.1 and the authors' code.
    """
    if encoder.fresh:
        for module in encoder.model.modules():
            draw_linear(module)
        _draw_patches(encoder)
        _draw_prefix(encoder, std=0.02)


@torch.no_grad()
def draw_as_moco_v3(encoder: Encoder) -> None:
    """Draw a ViT's weights as MoCo v3 does, unless they were loaded: as MAE's, but queries, keys and values are a
    matrix each, the patch projection's bias is 0 and prefix tokens have a deviation of 1e-6.

    Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers (ICCV 2021), the authors' code.
    """
    if encoder.fresh:
        for name, module in encoder.model.named_modules():
            draw_linear(module, matrices=3 if name.endswith("qkv") else 1)
        patches = _draw_patches(encoder)
        if patches is not None and patches.bias is not None:
            patches.bias.zero_()
        _draw_prefix(encoder, std=1e-6)


@torch.no_grad()
def draw_as_dino(encoder: Encoder) -> None:
    """Draw a ViT's prefix tokens with DINO's deviation of .02, unless it was loaded; the rest is drawn as by timm.

    Caron et al.: Emerging Properties in Self-Supervised Vision Transformers (ICCV 2021), the authors' code.
    """
    if encoder.fresh and encoder.takes_keep:
        _draw_prefix(encoder, std=0.02)


@torch.no_grad()
def draw_linear(module: nn.Module, matrices: int = 1) -> None:
    """Xavier's uniform weights and a bias of 0 where `module` is a linear layer.

    matrices: how many of equal height its weight is stacked from.
    """
    if isinstance(module, nn.Linear):
        _draw_uniform(module.weight, module.in_features, module.out_features // matrices)
        if module.bias is not None:
            module.bias.zero_()


def _draw_patches(encoder: Encoder) -> Any:
    """Draw the projection of patches as a linear layer of their pixels, and answer it; a stem of convolutions
    stays as it is, and None is answered."""
    embed = encoder.model.patch_embed
    if not isinstance(embed, PatchEmbed):
        return None
    _draw_uniform(embed.proj.weight, embed.proj.weight[0].numel(), embed.proj.out_channels)
    return embed.proj


def _draw_uniform(weight: torch.Tensor, before: int, after: int) -> None:
    limit = math.sqrt(6 / (before + after))
    weight.uniform_(-limit, limit)


def _draw_prefix(encoder: Encoder, std: float) -> None:
    for name in PREFIX_TOKENS:
        tokens = getattr(encoder.model, name, None)
        if tokens is not None:
            nn.init.normal_(tokens, std=std)
