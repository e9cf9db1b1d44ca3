"""How attention is computed; what it computes is timm's affair."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from selfsight.nets.encoder import Encoder

FEW_TOKENS = 256


def has_few_tokens(encoder: Encoder) -> bool:
    """Whether the encoder is a ViT that sees at most `FEW_TOKENS` patches."""
    return encoder.takes_keep and math.prod(encoder.grid()) <= FEW_TOKENS


def attend_by_products(module: nn.Module) -> None:
    """Compute attention by two matrix products and a softmax in place of torch's fused kernel.

    That kernel's backward pass in bf16 is slow on CPUs: two to seven times slower up to 200
    tokens, until the square of their number decides.
    """
    fused: list[Any] = [part for part in module.modules() if getattr(part, "fused_attn", False)]
    for part in fused:
        part.fused_attn = False
