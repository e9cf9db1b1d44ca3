"""Encoders: timm's families under one contract."""

from __future__ import annotations

import copy
import logging

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from selfsight.nets import Encoder, EncoderSpec, as_encoder, build_encoder, encoder_names
from selfsight.nets.building import plain_options

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 2}
FAMILIES = [
    ("resnet18", 32, {}),
    ("resnet50", 32, {}),
    ("resnet50d", 32, {"layers": [1, 1, 1, 1]}),
    ("resnet_slim", 32, {}),
    ("convnext_atto", 32, {}),
    ("mobilenetv3_small_050", 64, {}),
    ("ghostnet_050", 64, {}),
    ("efficientnet_b0", 64, {"drop_path_rate": 0.1}),
    ("swin_tiny_patch4_window7_224", 56, {"depths": [1, 1, 1, 1]}),
    ("vit_small_image", 32, {"depth": 2}),
]
VITS = [
    ("vit_tiny_patch16_224", 32, {"patch_size": 4, **TINY}, 1),
    ("vit_tiny_patch16_224", 32, {"patch_size": 8, "class_token": False, "global_pool": "avg", **TINY}, 0),
    ("deit_tiny_distilled_patch16_224", 32, {"patch_size": 4, **TINY}, 2),
    ("vit_small_patch14_reg4_dinov2", 56, {**TINY, "init_values": 1.0}, 5),
    ("eva02_tiny_patch14_224", 56, TINY, 1),
    ("vit_base_patch16_dinov3", 64, {**TINY, "init_values": 1.0}, 5),
]


@pytest.fixture(params=VITS, ids=lambda case: f"{case[0]}-prefix{case[3]}")
def vit(request: pytest.FixtureRequest) -> tuple[Encoder, torch.Tensor, int]:
    name, size, options, prefix = request.param
    torch.manual_seed(0)
    encoder = build_encoder(name, image_size=size, **options).eval()
    return encoder, torch.randn(2, 3, size, size), prefix


@pytest.mark.parametrize(("name", "size", "options"), FAMILIES)
def test_pooled_features_have_the_stated_width(name, size, options):
    encoder = build_encoder(name, image_size=size, **options).eval()
    features = encoder(torch.randn(2, 3, size, size))
    assert features.shape == (2, encoder.width)
    assert encoder.spec.width == encoder.width
    maps = encoder.dense(torch.randn(2, 3, size, size))
    assert maps.ndim == 4 and len(maps) == 2


@pytest.mark.parametrize("channels", [1, 4])
def test_channels_are_free(channels):
    assert (
        build_encoder("resnet_slim", image_size=32, channels=channels)(torch.randn(2, channels, 32, 32)).shape[1] == 256
    )


def test_small_images_get_the_small_stem():
    small = build_encoder("resnet18", image_size=64)
    assert small.spec.stem == "small"
    assert small.dense(torch.randn(1, 3, 32, 32)).shape[-2:] == (4, 4)
    assert small.model.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # Kaiming, fan out
    native = build_encoder("resnet18", image_size=65)
    assert native.spec.stem == "native"
    assert native.dense(torch.randn(1, 3, 64, 64)).shape[-2:] == (2, 2)
    assert build_encoder("resnet18", image_size=32, stem="native").spec.stem == "native"


def test_the_small_stem_of_a_deep_stem_keeps_its_weights():
    torch.manual_seed(0)
    small = build_encoder("resnet50d", image_size=32, layers=[1, 1, 1, 1])
    torch.manual_seed(0)
    native = build_encoder("resnet50d", image_size=128, layers=[1, 1, 1, 1])
    assert all(torch.equal(a, b) for a, b in zip(small.parameters(), native.parameters(), strict=True))
    assert small.dense(torch.randn(1, 3, 32, 32)).shape[-1] == 4


def test_residual_branches_start_at_zero():
    assert not build_encoder("resnet18", image_size=32).model.layer1[0].bn2.weight.any()


def test_names_stay_timms():
    ours = build_encoder("vit_small_image", image_size=32).model.state_dict()
    theirs = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=4, embed_dim=192, depth=6, num_heads=3
    ).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


# Visible patches


def test_keeping_all_patches_equals_keeping_none_back(vit):
    encoder, images, prefix = vit
    count = encoder.grid()[0] * encoder.grid()[1]
    everything = torch.arange(count).expand(2, -1)
    assert encoder.prefix == prefix
    assert encoder.tokens(images).shape == (2, prefix + count, 48)
    assert torch.equal(encoder.tokens(images, everything), encoder.tokens(images))
    torch.testing.assert_close(encoder(images, everything), encoder(images))


def test_the_order_of_kept_patches_does_not_matter_but_their_place_does(vit):
    encoder, images, prefix = vit
    keep = torch.tensor([[0, 3, 7, 10], [1, 2, 14, 5]])
    tokens = encoder.tokens(images, keep)
    turned = encoder.tokens(images, keep.flip(1))
    assert tokens.shape == (2, prefix + 4, 48)
    torch.testing.assert_close(turned[:, prefix:].flip(1), tokens[:, prefix:], rtol=1e-4, atol=1e-5)
    # The same pixels at other places: positions were added before the patches were dropped.
    moved = encoder.tokens(images.flip(-1), keep)
    same = encoder.tokens(torch.ones_like(images), keep)
    elsewhere = encoder.tokens(torch.ones_like(images), keep + 1)
    assert not torch.allclose(moved, tokens, atol=1e-3)
    assert not torch.allclose(same, elsewhere, atol=1e-5)


def test_hidden_patches_get_no_gradient(vit):
    encoder, images, _ = vit
    images.requires_grad_()
    keep = torch.tensor([[0, 3], [1, 2]])
    encoder(images, keep).square().sum().backward()
    assert images.grad is not None
    patch = encoder.patch
    touched = F.max_pool2d(images.grad.abs().amax(1, keepdim=True), patch).flatten(1) > 0
    expected = torch.zeros_like(touched).scatter(1, keep, True)
    assert torch.equal(touched, expected)


def test_keep_is_forgotten_even_after_an_error(vit):
    encoder, images, _ = vit
    before = encoder(images)
    with pytest.raises(RuntimeError):
        encoder(images, torch.tensor([[9999], [9999]]))
    assert torch.equal(encoder(images), before)
    assert torch.equal(copy.deepcopy(encoder)(images), before)


def test_timms_own_patch_dropout_still_works():
    encoder = build_encoder("vit_small_image", image_size=32, depth=1, patch_drop_rate=0.5)
    images = torch.randn(2, 3, 32, 32)
    assert encoder.tokens(images).shape[1] == 1 + 32
    assert encoder.tokens(images, torch.zeros(2, 5, dtype=torch.long)).shape[1] == 1 + 5
    assert encoder.eval().tokens(images).shape[1] == 1 + 64


@pytest.mark.parametrize("size", [16, 48])
def test_position_embeddings_are_interpolated_to_other_sizes(size):
    encoder = build_encoder("vit_small_image", image_size=32, depth=1).eval()
    images = torch.randn(2, 3, size, size)
    table = encoder.model.pos_embed
    grid = table[:, 1:].unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, size=(size // 4, size // 4), mode="bicubic", antialias=True).flatten(2).mT
    expected = torch.cat((table[:, :1], resized), 1)
    patches = encoder.model.patch_embed(images).flatten(1, 2)
    tokens = torch.cat((encoder.model.cls_token.expand(2, -1, -1), patches), 1) + expected
    reference = encoder.model.norm(encoder.model.blocks(tokens))
    torch.testing.assert_close(encoder.tokens(images), reference)


def test_the_dense_map_is_the_patch_tokens_in_place(vit):
    encoder, images, prefix = vit
    maps = encoder.dense(images)
    assert maps.shape[-2:] == encoder.grid()
    torch.testing.assert_close(maps.flatten(2).mT, encoder.tokens(images)[:, prefix:])


def test_only_vits_have_patches():
    encoder = build_encoder("resnet_slim", image_size=32)
    for ask in (lambda: encoder.patch, lambda: encoder.prefix, encoder.grid):
        with pytest.raises(ValueError, match="use a ViT"):
            ask()
    with pytest.raises(ValueError, match="use a ViT"):
        encoder(torch.randn(2, 3, 32, 32), torch.zeros(2, 1, dtype=torch.long))


# What users get wrong


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("resnet81", 32, {}, "did you mean 'resnet18'"),
        ("vit_smal_image", 32, {}, "did you mean 'vit_small_image'"),
        ("resnet18", 32, {"drop_path_rat": 0.1}, "did you mean 'drop_path_rate'"),
        ("resnet18", 32, {"img_size": 32}, "no option 'img_size'"),
        ("resnet18", 32, {"drop_path_rate": 2.0}, "drop_path_rate, of encoder_options, is a share"),
        ("vit_small_image", 32, {"drop_rate": "much"}, "drop_rate, of encoder_options, is a share"),
        ("vit_small_image", 32, {"num_heads": 7}, "cannot build 'vit_small_image' with encoder_options num_heads=7"),
        ("vit_small_image", 32, {"depth": "deep"}, "encoder_options depth='deep'"),
        ("vit_small_image", 32, {"patch_size": -4}, "encoder_options patch_size=-4"),
        ("vit_tiny_patch16_224", 32, {"patchsize": 4}, "did you mean 'patch_size'"),
        ("mixer_b16_224", 32, {"num_blocks": 1}, "its name fixes the value"),
        ("vit_tiny_patch16_224", 40, {}, "image_size to 32 or 48"),
        ("vit_small_patch14_reg4_dinov2", 8, {}, "image_size to 14, or"),
        ("convnext_atto", 32, {"stem": "small"}, "only ResNets"),
        ("resnet18", 32, {"stem": "tiny"}, "'small' or 'native'"),
        ("resnet18", 32, {"act_layer": nn.GELU}, "numbers, strings, lists"),
        ("resnet_slim", 32, {"pretrained": True}, "nobody published weights"),
    ],
)
def test_mistakes_are_named_with_their_fix(name, size, options, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(name, image_size=size, **options)


def test_a_vit_with_few_tokens_warns():
    with pytest.warns(UserWarning, match="only 4 patches: set a smaller patch_size"):
        build_encoder("vit_tiny_patch16_224", image_size=32, **TINY)


def test_pretrained_weights_are_loaded_and_named(tmp_path, caplog):
    source = timm.create_model("resnet18", num_classes=0)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pt"), "num_classes": 0}}
    with caplog.at_level(logging.INFO, logger="selfsight"):
        encoder = build_encoder("resnet18", image_size=32, pretrained=True, **overlay)
    assert torch.equal(encoder.model.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert "except conv1" in caplog.text
    assert encoder.spec.mean == pytest.approx((0.485, 0.456, 0.406))
    for channels in (1, 2, 4):  # the weights of three channels are summed or repeated, and their statistics averaged
        spec = build_encoder("resnet18", image_size=32, channels=channels, pretrained=True, **overlay).spec
        assert spec.mean == pytest.approx((0.449,) * channels) and spec.std == pytest.approx((0.226,) * channels)
    with pytest.raises(ValueError, match="do not fit these options"):
        build_encoder("resnet18", image_size=32, pretrained=True, layers=[1, 1, 1, 1], **overlay)


# A user's own module


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 7, 3)
        self.norm = nn.BatchNorm2d(7).eval()

    def forward(self, x):
        return self.norm(self.conv(x)).mean((2, 3))


def test_any_module_with_pooled_features_is_an_encoder():
    module = Pooled()
    encoder = as_encoder(module, image_size=16, channels=2)
    images = torch.randn(3, 2, 16, 16)
    assert encoder.width == 7 and encoder.spec.custom
    assert module.training and not module.norm.training  # modes are left as they were
    assert torch.equal(encoder(images), module(images))
    assert as_encoder(encoder, image_size=16) is encoder


def test_a_timm_module_is_an_encoder_with_patches():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, **TINY)
    encoder = as_encoder(model, image_size=32)
    assert encoder.width == 48 and encoder.grid() == (4, 4)
    assert encoder(torch.randn(2, 3, 32, 32), torch.zeros(2, 3, dtype=torch.long)).shape == (2, 48)


def test_a_module_with_a_map_is_refused():
    with pytest.raises(ValueError, match=r"answers features \(B, D\), Conv2d answered \(2, 4, 14, 14\)"):
        as_encoder(nn.Conv2d(3, 4, 3), image_size=16)


def test_specs_survive_json():
    spec = build_encoder("resnet_slim", image_size=(32, 64), drop_path_rate=0.1).spec
    assert spec.size == (32, 64)
    assert EncoderSpec.from_json({**plain_options(spec.to_json()), "method": "vicreg"}) == spec
    with pytest.raises(ValueError, match="lacks channels"):
        EncoderSpec.from_json({name: value for name, value in spec.to_json().items() if name != "channels"})


def test_names_can_be_searched():
    assert encoder_names("resnet_s*") == ["resnet_slim"]
    assert "resnet18" in encoder_names()
