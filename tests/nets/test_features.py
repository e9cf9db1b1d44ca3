"""All that one pass through an encoder gives: maps, tokens, layers, hidden patches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from selfsight.nets import as_encoder, build_encoder

VITS = {
    "vit": ("vit_small_image", {"embed_dim": 48, "depth": 3, "num_heads": 3}),
    "registers": (
        "vit_small_patch14_reg4_dinov2",
        {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3},
    ),
    "eva": ("eva02_tiny_patch14_224", {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}),
}
MAPS = {
    "resnet": ("resnet_slim", {}),
    "convnext": ("convnext_atto", {}),
    "efficientnet": ("efficientnet_lite0", {}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 4, "window_size": 4, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2)},
    ),
}
EVERY = {**VITS, **MAPS}


def build(name, size=32):
    torch.manual_seed(0)
    timm_name, options = EVERY[name]
    return build_encoder(timm_name, image_size=size, **options).eval()


def images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", EVERY)
def test_pooled_features_are_those_of_the_call_and_maps_lie_in_the_last_layer(name):
    encoder, x = build(name), images()
    found = encoder.features(x)
    assert torch.equal(found.pooled, encoder(x))
    assert found.map is not None and found.map.shape[:2] == (2, encoder.maps[-1][0])
    assert found.map.shape[2] == round(32 / encoder.maps[-1][1])
    assert torch.equal(found.map, encoder.dense(x)) and found.layers == ()


@pytest.mark.parametrize("name", VITS)
def test_tokens_of_a_vit(name):
    encoder, x = build(name), images()
    found = encoder.features(x, layers=2)
    tokens = encoder.tokens(x)
    assert torch.equal(torch.cat([found.prefix, found.patches], 1), tokens)
    assert torch.equal(found.map.flatten(2).transpose(1, 2), found.patches)
    assert len(found.layers) == 2 and all(layer.shape == tokens.shape for layer in found.layers)
    torch.testing.assert_close(encoder.model.norm(found.layers[-1]), tokens)
    assert not torch.allclose(found.layers[0], found.layers[1])
    with pytest.raises(ValueError, match="has 3 blocks, and layers asks for 4"):
        encoder.features(x, layers=4)


@pytest.mark.parametrize("name", VITS)
def test_some_patches_and_several_layers_in_one_pass(name):
    encoder, x = build(name), images()
    keep = torch.tensor([[0, 3, 5], [1, 2, 4]])
    found = encoder.features(x, keep=keep, layers=1)
    assert found.map is None and found.patches.shape[1] == 3 and found.layers[0].shape[1] == 3 + encoder.prefix
    assert torch.equal(torch.cat([found.prefix, found.patches], 1), encoder.tokens(x, keep))


@pytest.mark.parametrize("name", MAPS)
def test_layers_of_a_net_with_maps_are_its_last_stages(name):
    encoder, x = build(name), images()
    found = encoder.features(x, layers=2)
    assert [layer.shape[1] for layer in found.layers] == [channels for channels, _ in encoder.maps[-2:]]
    assert torch.equal(found.layers[-1], found.map) and found.prefix is None and found.patches is None
    assert torch.equal(found.pooled, encoder(x))


def test_pooled_and_map_differ_in_width_where_a_head_widens():
    encoder = build("efficientnet")
    assert encoder.maps[-1][0] != encoder.width == encoder.features(images()).pooled.shape[1]


def test_maps_are_known_once_and_looking_changes_nothing():
    encoder = build("resnet").train()
    statistics = encoder.model.bn1.running_mean.clone()
    assert encoder.maps == ((32, 1), (32, 1), (64, 2), (128, 4), (256, 8)) or encoder.maps[-1] == (256, 8)
    assert encoder.training and torch.equal(encoder.model.bn1.running_mean, statistics)
    assert encoder.maps is encoder.maps


@pytest.mark.parametrize("name", [*VITS, "swin"])
def test_pixels_of_hidden_patches_stop_to_matter(name):
    encoder, x = build(name), images().requires_grad_()
    patches = encoder.model.patch_embed(x.detach()).flatten(1, -2)
    count, side = patches.shape[1], round(patches.shape[1] ** 0.5)
    hidden = torch.rand(2, count, generator=torch.Generator().manual_seed(1)) < 0.5
    token = torch.randn(patches.shape[2], requires_grad=True)
    found = encoder.features(x, hidden=hidden, token=token)
    (found.pooled.square().sum() + found.map.square().sum()).backward()
    of_patch = x.grad.abs().sum(1).unfold(1, 32 // side, 32 // side).unfold(2, 32 // side, 32 // side).sum((3, 4))
    assert (of_patch.flatten(1)[hidden] == 0).all() and (of_patch.flatten(1)[~hidden] > 0).all()
    assert token.grad.abs().sum() > 0
    with torch.no_grad():
        nothing = encoder.features(x, hidden=torch.zeros_like(hidden), token=token)
        assert torch.equal(nothing.pooled, encoder(x)), "and the token is forgotten after a pass"
        other = encoder.features(x, hidden=hidden, token=token.flip(0))
        assert not torch.allclose(other.pooled, found.pooled)


def test_hiding_what_is_not_there_is_refused():
    x, token = images(), torch.zeros(48)
    vit, resnet = build("vit"), build("resnet")
    hidden = torch.zeros(2, 64, dtype=torch.bool)
    for encoder, wrong, message in (
        (vit, {"hidden": hidden}, "belong together"),
        (vit, {"hidden": hidden, "token": token, "keep": torch.zeros(2, 1, dtype=torch.int64)}, "not beside keep"),
        (vit, {"hidden": hidden[:, 1:], "token": token}, r"64 patches of width 48, hidden is \(2, 63\)"),
        (vit, {"hidden": hidden, "token": token[1:]}, r"token \(47,\)"),
        (resnet, {"hidden": hidden, "token": token}, "embeds no patches"),
        (resnet, {"keep": torch.zeros(2, 1, dtype=torch.int64)}, "use a ViT"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.features(x, **wrong)
    assert torch.equal(vit.features(x).pooled, vit(x))


class Plain(nn.Module):
    """Pooled features alone."""

    def forward(self, x):
        return x.mean((2, 3))


class WithMap(Plain):
    """A map and a head, as timm has them."""

    def forward_features(self, x):
        return x[:, :, ::2, ::2]

    def forward_head(self, x, pre_logits=True):
        return x.mean((2, 3))


def test_what_a_module_of_ones_own_answers():
    x = images()
    plain, mapped = (as_encoder(module, image_size=32) for module in (Plain(), WithMap()))
    found = plain.features(x)
    assert found.map is None and torch.equal(found.pooled, plain(x)) and plain.maps == ()
    with pytest.raises(ValueError, match="has no map"):
        plain.dense(x)
    with pytest.raises(ValueError, match="several layers"):
        plain.features(x, layers=1)
    assert mapped.features(x).map.shape == (2, 3, 16, 16)
