"""A decoder on the encoder: that it learns, where masks lie in views, and what it leaves as it was."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional as F

from selfsight.data.canvas import full_canvas
from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.protocols._segmenter import Segmenter, pixel_loss, seen_masks
from selfsight.protocols.segmentation import Segmentation
from selfsight.views import Augmentation, ViewSet
from selfsight.views.view_sets import random_view

FAST = {"epochs": 12, "batch_size": 8, "channels": 16, "lrs": (3e-3,), "layer_decay": 1.0}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=32).eval()


def judge(encoder, data, **options):
    return evaluate(encoder, data, protocols="segmentation", protocol_options={"segmentation": {**FAST, **options}})


def miou(records, row):
    return next(one["value"] for one in records if (one["encoder"], one["metric"]) == (row, "miou"))


def test_it_learns_and_leaves_the_encoder_as_it_was(encoder, scenes):
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    records = judge(encoder, scenes)
    assert list(dict.fromkeys(one["encoder"] for one in records)) == ["trained", "scratch", "chance"]
    assert miou(records, "trained") > 0.7 and miou(records, "scratch") > 0.7 > 0.3 > miou(records, "chance")
    assert records[0]["than"] == "scratch" and records[0]["settings"]["lr"] == 3e-3
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert records == judge(encoder, scenes)


def test_a_frozen_encoder_stays_frozen_beside_a_random_one(encoder, scenes):
    records = judge(encoder, scenes, frozen=True)
    assert list(dict.fromkeys(one["encoder"] for one in records)) == ["trained", "random", "chance"]
    assert miou(records, "trained") > 0.6


def test_a_transformer_learns_too(scenes):
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3).eval()
    assert miou(judge(vit, scenes), "trained") > 0.5


def test_the_rate_is_chosen_on_what_is_held_out(encoder, scenes):
    records = judge(encoder, scenes, lrs=(1e-7, 3e-3), epochs=4)
    assert records[0]["settings"]["lr"] == 3e-3


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_masks_lie_where_views_do(flip):
    """Pixels that are their own class come back as the mask of the view, where neighbours are alike."""
    mask = torch.zeros(40, 64, dtype=torch.int64)
    mask[:, 30:], mask[20:] = 1, 2
    pixels = (mask * 100).to(torch.uint8).expand(3, 3, -1, -1).clone()
    plain = Augmentation(scale=(0.2, 0.6), flip=flip, jitter_p=0.0, grayscale=0.0, blur=0.0)
    canvas = full_canvas(pixels)
    batch = ViewSet((random_view((24, 32), plain.of_view(0)),))([canvas], torch.Generator().manual_seed(0))
    found = seen_masks(batch, canvas.extent, [mask] * 3)
    seen = batch.views[0][:, 0] * 255 / 100
    pure = (seen - seen.round()).abs() < 0.02  # elsewhere a pixel is a mixture of two
    assert found.shape == (3, 24, 32) and pure.float().mean() > 0.8 and len(found.unique()) == 3
    assert torch.equal(found[pure], seen.round().long()[pure])


def test_masks_of_shrunk_images_are_of_their_own_size():
    mask = torch.arange(6).view(2, 3).repeat_interleave(20, 0).repeat_interleave(20, 1)
    canvas = full_canvas(torch.zeros(1, 3, 10, 15))
    plain = Augmentation(scale=(1.0, 1.0), flip=0.0, jitter_p=0.0, grayscale=0.0, blur=0.0, ratio=(1.5, 1.5))
    batch = ViewSet((random_view((2, 3), plain.of_view(0)),))([canvas], torch.Generator().manual_seed(0))
    assert seen_masks(batch, canvas.extent, [mask])[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_loss_is_over_known_pixels():
    generator = torch.Generator().manual_seed(0)
    scores, truth = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(-1, 3, (2, 8, 8), generator=generator)
    big = F.interpolate(scores, (8, 8), mode="bilinear").movedim(1, -1)
    known = truth >= 0
    assert torch.allclose(pixel_loss(scores, truth), F.cross_entropy(big[known], truth[known]))
    assert pixel_loss(scores, torch.full((2, 8, 8), -1)) == 0


def test_a_frozen_encoder_keeps_its_statistics(encoder):
    model = Segmenter(encoder, 3, 8, frozen=True).train()
    assert not model.levels.encoder.training and model.decoder.training
    assert not any(part.requires_grad for part in model.levels.encoder.parameters())
    encoder.requires_grad_(True)


def test_a_missing_package_is_named(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch.decoders.upernet.decoder", None)
    with pytest.raises(ValueError, match=r'pip install "selfsight\[dense\]"'):
        Segmenter(encoder, 3, 8, frozen=False)


@pytest.mark.parametrize("options", [{"epochs": 0}, {"lrs": ()}, {"batch_size": 1}, {"channels": 0}])
def test_what_cannot_be_asked(options):
    with pytest.raises(ValueError, match="segmentation wants at least one epoch, two images a batch"):
        Segmentation(**options)
