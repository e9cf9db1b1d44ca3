"""An attentive probe: against PyTorch's attention, and where the mean over positions says nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import selfsight.protocols.attentive as module
from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.protocols._attentive_head import AttentiveHead
from selfsight.protocols.attentive import Attentive

FAST = {"epochs": 30, "batch_size": 32, "lrs": (1e-2,), "heads": 4}


@pytest.fixture(scope="module")
def data():
    """A dot at one of two heights, anywhere along its row, beside as many in two other colours."""
    rng = np.random.default_rng(0)
    images, labels = np.full((360, 16, 16, 3), 120, np.uint8), rng.integers(0, 2, 360)
    for image, label in zip(images, labels, strict=True):
        first, second = rng.permutation(4)[:2]
        image[4 * 0 : 4, 4 * first : 4 * first + 4] = (250, 20, 20) if label else (20, 20, 250)
        image[12:16, 4 * second : 4 * second + 4] = (20, 20, 250) if label else (250, 20, 20)
    return images, labels


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return build_encoder("vit_small_image", image_size=16, patch_size=4, embed_dim=32, depth=1, num_heads=2).eval()


def judge(encoder, data, **options):
    return evaluate(encoder, data, protocols="attentive", protocol_options={"attentive": {**FAST, **options}})


def top1(records, row):
    return next(one["value"] for one in records if (one["encoder"], one["metric"]) == (row, "top1"))


def test_it_finds_what_lies_where(vit, data):
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    records = judge(vit, data)
    assert list(dict.fromkeys(one["encoder"] for one in records)) == ["trained", "random", "chance"]
    assert top1(records, "trained") > 0.9
    assert records == judge(vit, data)
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())


def test_the_rate_is_chosen_on_what_is_held_out(vit, data):
    records = judge(vit, data, lrs=(1e-7, 1e-2))
    assert records[0]["settings"]["lr"] == 1e-2


def test_nets_without_tokens_have_positions(data):
    torch.manual_seed(0)
    records = judge(build_encoder("resnet_slim", image_size=16).eval(), data)
    assert top1(records, "trained") > 0.9


def test_the_head_is_attention():
    torch.manual_seed(0)
    head = AttentiveHead(8, 4, 3).eval()
    tokens = torch.randn(2, 5, 8)
    reference = nn.MultiheadAttention(8, 4, bias=False, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([torch.eye(8), head.key.weight, head.value.weight]))
        reference.out_proj.weight.copy_(torch.eye(8))
        x = tokens / (1 + head.norm.eps) ** 0.5  # statistics as they begin
        pooled, _ = reference(head.query.flatten().expand(2, 1, 8), x, x)
        torch.testing.assert_close(head(tokens), head.head(pooled[:, 0]))
    assert AttentiveHead(10, 4, 3).heads == 2


def test_tokens_that_do_not_fit_are_refused(vit, data, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 2 * 2 * 16 * 32 * 50)
    with pytest.raises(ValueError, match=r"tokens of 285 images, 16 of 32 numbers each, .* set limit to 50 at most"):
        judge(vit, data)


def test_pooling_by_attention_is_a_protocol(vit, data):
    with pytest.raises(ValueError, match="leave pool out and add --protocols attentive"):
        evaluate(vit, data, pool="attentive")


@pytest.mark.parametrize("options", [{"heads": 0}, {"epochs": 0}, {"batch_size": 1}, {"lrs": ()}])
def test_what_cannot_be_asked(options):
    with pytest.raises(ValueError, match="attentive wants a head"):
        Attentive(**options)
