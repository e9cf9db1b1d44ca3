"""Maps from fine to coarse: shapes, what is the net's own, and what a net cannot give."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from selfsight.nets import build_encoder
from selfsight.nets.levels import Levels

SMALL_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize(
    ("name", "size", "options", "sides", "channels"),
    [
        ("resnet18", 128, {}, (32, 16, 8, 4), (64, 128, 256, 512)),
        ("resnet_slim", 64, {}, (16, 8, 4, 2), (128, 256, 256, 256)),
        ("convnext_atto", 64, {}, (16, 8, 4, 2), (40, 80, 160, 320)),
        ("vit_small_image", 64, {"patch_size": 16, **SMALL_VIT}, (16, 8, 4, 2), (12, 24, 48, 48)),
        ("vit_small_image", 56, {"patch_size": 14, **SMALL_VIT}, (16, 8, 4, 2), (12, 24, 48, 48)),
        ("vit_small_image", 16, {"patch_size": 4, **SMALL_VIT}, (4, 2, 1, 1), (48, 48, 48, 48)),
    ],
)
def test_shapes(name, size, options, sides, channels):
    levels = Levels(build_encoder(name, image_size=size, **options)).eval()
    found = levels(torch.rand(2, 3, size, size))
    assert levels.channels == channels
    assert [tuple(one.shape) for one in found] == [
        (2, width, side, side) for width, side in zip(channels, sides, strict=True)
    ]


def test_maps_that_a_net_has_are_its_own():
    torch.manual_seed(0)
    encoder = build_encoder("resnet_slim", image_size=64).eval()
    x = torch.rand(1, 3, 64, 64)
    found, own = Levels(encoder)(x), encoder.features(x, layers=2).layers
    assert torch.equal(found[0], own[0]) and torch.equal(found[1], own[1])
    assert torch.equal(found[3][0, :, 0, 0], own[1][0, :, :4, :4].amax(dim=(1, 2)))


def test_gradients_reach_the_encoder_and_the_steps():
    torch.manual_seed(0)
    levels = Levels(build_encoder("vit_small_image", image_size=64, patch_size=16, **SMALL_VIT))
    sum(level.square().mean() for level in levels(torch.rand(1, 3, 64, 64))).backward()
    assert all(part.grad is not None for part in levels.steps.parameters())
    assert levels.encoder.model.patch_embed.proj.weight.grad.abs().sum() > 0


def test_what_has_no_levels_is_named(pooled):
    with pytest.raises(ValueError, match="has no map: ResNets, ConvNeXts and ViTs have one"):
        Levels(pooled)
    with pytest.raises(ValueError, match="is for volumes"):
        volumes = build_encoder("resnet_slim", image_size=32)
        volumes.spec = dataclasses.replace(volumes.spec, dims=3)
        Levels(volumes)
