"""The decoder puts every patch back where it came from."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from selfsight.nets import PatchDecoder, build_encoder


def test_it_answers_pixels_of_all_patches_from_the_visible_ones():
    encoder = build_encoder("vit_small_image", image_size=32, depth=1)
    decoder = PatchDecoder(
        encoder.width, encoder.grid(), encoder.patch, dim=64, depth=2, heads=4, prefix=encoder.prefix
    )
    keep = torch.stack([torch.randperm(64)[:16] for _ in range(2)])
    prediction = decoder(encoder.tokens(torch.randn(2, 3, 32, 32), keep), keep)
    assert prediction.shape == (2, 64, 4 * 4 * 3)
    prediction.square().sum().backward()
    assert decoder.mask_token.grad is not None and decoder.mask_token.grad.abs().sum() > 0
    assert not decoder.positions.requires_grad
    assert PatchDecoder(8, (2, 2, 2), 4, channels=1, dim=12, depth=1, heads=2).predict.out_features == 64


def test_it_restores_the_order_of_patches():
    decoder = PatchDecoder(12, (3, 4), 2, channels=3, dim=12, depth=0, prefix=2)
    decoder.embed = decoder.norm = decoder.predict = nn.Identity()
    decoder.positions.zero_()
    patches = torch.randn(2, 12, 12)
    order = torch.stack([torch.randperm(12) for _ in range(2)])
    shuffled = patches.gather(1, order.unsqueeze(-1).expand_as(patches))
    tokens = torch.cat((torch.randn(2, 2, 12), shuffled), 1)
    assert torch.equal(decoder(tokens, order), patches)

    keep = order[:, :5]
    seen = decoder(tokens[:, :7], keep)
    hidden = torch.ones(2, 12, dtype=torch.bool).scatter(1, keep, False)
    assert torch.equal(seen[~hidden], patches[~hidden])
    assert torch.equal(seen[hidden], decoder.mask_token[0].expand(14, -1))


def test_it_works_under_bf16():
    decoder = PatchDecoder(12, (2, 2), 2, dim=16, depth=1, heads=2)
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder(torch.randn(2, 3, 12), torch.tensor([[0, 3], [2, 1]])).isfinite().all()


def test_it_starts_as_the_paper_does():
    torch.manual_seed(0)
    decoder = PatchDecoder(192, (8, 8), 4, dim=512, depth=1)
    limit = math.sqrt(6 / (192 + 512))
    assert decoder.embed.weight.abs().max().item() == pytest.approx(limit, rel=0.01)
    assert not decoder.embed.bias.any()
    assert decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.15)
    assert len(decoder.blocks) == 1 and decoder.blocks[0].attn.num_heads == 16
    assert "positions" not in decoder.state_dict()
