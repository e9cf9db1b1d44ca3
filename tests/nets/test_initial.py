"""Initial weights against the formulas of the authors' code, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from conformance.cases import small_method
from selfsight.methods.dino import DINO
from selfsight.methods.mae import MAE
from selfsight.methods.moco_v3 import MoCoV3
from selfsight.nets import build_encoder, draw_as_mae, draw_as_moco_v3, load_weights, save_encoder
from selfsight.testing import small_batches, train

DRAWS = {"mae": draw_as_mae, "moco_v3": draw_as_moco_v3}


def fresh(seed=0, **options):
    torch.manual_seed(seed)
    return build_encoder("vit_small_image", image_size=32, **{"depth": 2, **options})


def is_uniform(weight, limit):
    """Whether values fill [-limit, limit] with a uniform distribution's deviation."""
    largest, deviation = weight.abs().max().item(), weight.std().item()
    return 0.99 * limit < largest <= limit and deviation == pytest.approx(limit / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("name", DRAWS)
def test_a_small_vit_projects_patches_with_the_authors_deviation(name):
    torch.manual_seed(0)
    encoder = build_encoder("vit_small_patch16_224", image_size=224, depth=1)
    assert encoder.model.patch_embed.proj.weight.std().item() == pytest.approx(0.0208, abs=2e-4)  # timm's
    DRAWS[name](encoder)
    assert encoder.model.patch_embed.proj.weight.std().item() == pytest.approx(0.0417, abs=2e-4)


@pytest.mark.parametrize(("name", "matrices", "token"), [("mae", 1, 0.02), ("moco_v3", 3, 1e-6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_layer_begins_as_the_authors(name, matrices, token, channels):
    encoder = fresh(channels=channels, reg_tokens=4)
    bias = encoder.model.patch_embed.proj.bias.clone()
    DRAWS[name](encoder)
    model = encoder.model
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert len(linear) == 8
    for layer, module in linear.items():
        height = module.out_features // (matrices if "qkv" in layer else 1)
        assert is_uniform(module.weight, math.sqrt(6 / (module.in_features + height))), layer
        assert not module.bias.any()
    assert is_uniform(model.patch_embed.proj.weight, math.sqrt(6 / (channels * 4 * 4 + 192)))
    assert torch.equal(model.patch_embed.proj.bias, bias if name == "mae" else torch.zeros_like(bias))
    for tokens in (model.cls_token, model.reg_token):
        assert tokens.std().item() == pytest.approx(token, rel=0.2)
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert norms and all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


@pytest.mark.parametrize("method", [MAE, MoCoV3])
def test_the_methods_draw_fresh_weights_alone_and_by_the_seed(method, tmp_path):
    def built(seed, weights=None):
        encoder = fresh(seed)
        if weights is not None:
            load_weights(encoder, weights)
        return method(encoder).encoder.model.state_dict()

    save_encoder(fresh(7), tmp_path)
    given = fresh(7).model.state_dict()
    one, again, other, loaded = built(0), built(0), built(1), built(0, tmp_path)
    weight = "blocks.0.attn.qkv.weight"
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one[weight], other[weight])
    assert not torch.equal(one[weight], fresh(0).model.state_dict()[weight])
    assert all(torch.equal(loaded[name], given[name]) for name in given)


def test_dino_draws_the_class_token_of_a_vit_alone(tmp_path):
    timms = fresh().model.state_dict()
    model = DINO(fresh(), out=16, hidden=8, bottleneck=4).encoder.model
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert all(torch.equal(value, timms[name]) for name, value in model.state_dict().items() if name != "cls_token")
    save_encoder(fresh(7), tmp_path)
    loaded = fresh()
    load_weights(loaded, tmp_path)
    DINO(loaded, out=16, hidden=8, bottleneck=4)
    assert torch.equal(loaded.model.cls_token, fresh(7).model.cls_token)
    DINO(build_encoder("resnet_slim", image_size=32), out=16, hidden=8, bottleneck=4)


def test_moco_v3_freezes_its_patches_as_they_were_drawn():
    method = MoCoV3(fresh())
    projection = method.encoder.model.patch_embed.proj
    limit = math.sqrt(6 / (3 * 4 * 4 + 192))
    assert is_uniform(projection.weight, limit) and not projection.bias.any()
    assert not any(parameter.requires_grad for parameter in projection.parameters())
    trained = {id(p) for group in method.param_groups() for p in group["params"]}
    assert id(projection.weight) not in trained and id(method.encoder.model.blocks[0].mlp.fc1.weight) in trained
    assert torch.equal(method.teacher.module[0].model.patch_embed.proj.weight, projection.weight)
    resnet = MoCoV3(build_encoder("resnet_slim", image_size=32))
    assert all(parameter.requires_grad for parameter in resnet.encoder.parameters())


def test_moco_v3_trains_and_decays_all_but_the_patches():
    method = small_method("moco_v3", encoder="vit")
    before = {name: value.clone() for name, value in method.encoder.model.named_parameters()}
    train(method, small_batches(method), steps=3)
    same = {name for name, value in method.encoder.model.named_parameters() if torch.equal(value, before[name])}
    assert same == {"patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed"}


def test_mae_decays_its_tokens_and_leaves_biases_and_norms_out():
    method = MAE(fresh(), decoder_width=32, decoder_depth=1, decoder_heads=2)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    decayed, kept = ([names[id(p)] for p in group["params"]] for group in method.param_groups())
    assert {"decoder.mask_token", "encoder.model.cls_token", "decoder.predict.weight"} <= set(decayed)
    assert all(name.endswith("bias") or "norm" in name for name in kept)
    assert not any("pos" in name for name in decayed + kept)
