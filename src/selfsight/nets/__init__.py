"""Encoders, heads, decoders and teachers."""

from selfsight.nets.attention import attend_by_products, has_few_tokens
from selfsight.nets.building import (
    ALIASES,
    build_encoder,
    check_encoder_name,
    encoder_names,
    is_encoder,
    is_path,
)
from selfsight.nets.decoder import PatchDecoder
from selfsight.nets.ema import EMA, cosine_momentum
from selfsight.nets.encoder import Encoder, EncoderSpec, Features, as_encoder, evaluating
from selfsight.nets.frozen import Frozen
from selfsight.nets.heads import DINOHead, Prototypes, mlp
from selfsight.nets.initial import draw_as_dino, draw_as_mae, draw_as_moco_v3
from selfsight.nets.positions import fix_positions, sin_cos_positions
from selfsight.nets.storage import (
    WeightReport,
    digest,
    load_encoder,
    load_weights,
    read_spec,
    rebuild,
    rebuild_snippet,
    save_encoder,
)
from selfsight.nets.visible import take_patches

__all__ = [
    "ALIASES",
    "EMA",
    "DINOHead",
    "Encoder",
    "EncoderSpec",
    "Features",
    "Frozen",
    "PatchDecoder",
    "Prototypes",
    "WeightReport",
    "as_encoder",
    "attend_by_products",
    "build_encoder",
    "check_encoder_name",
    "cosine_momentum",
    "digest",
    "draw_as_dino",
    "draw_as_mae",
    "draw_as_moco_v3",
    "encoder_names",
    "evaluating",
    "fix_positions",
    "has_few_tokens",
    "is_encoder",
    "is_path",
    "load_encoder",
    "load_weights",
    "mlp",
    "read_spec",
    "rebuild",
    "rebuild_snippet",
    "save_encoder",
    "sin_cos_positions",
    "take_patches",
]
