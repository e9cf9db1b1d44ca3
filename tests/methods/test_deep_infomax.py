"""Deep InfoMax: one view, one pass, any encoder with a map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conformance.cases import small_method
from selfsight.engine.build import choose_optimisation
from selfsight.engine.optimisers import build_optimiser
from selfsight.methods.deep_infomax import DeepInfoMax
from selfsight.nets import as_encoder, build_encoder
from selfsight.testing import IMAGES, SIZE, check_learns, small_batches, small_encoder


@pytest.mark.parametrize("estimator", ["info_nce", "dv"])
def test_every_estimator_learns(estimator):
    check_learns(small_method("deep_infomax", seed=1, estimator=estimator))  # "dv" from 0 is at the bound on AVX2


def test_a_transformer_has_places_too():
    method = small_method("deep_infomax", encoder="vit")
    (batch,) = small_batches(method, count=1)
    outcome = method(batch)
    outcome["loss"].backward()
    assert outcome["loss"].isfinite()
    assert all(p.grad is not None for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("encoder", ["resnet", "vit"])
def test_one_pass_gives_what_the_encoder_gives_in_two(encoder):
    encoder = small_encoder(encoder).eval()
    view = torch.randn(2, 3, SIZE, SIZE)
    features = encoder.features(view, layers=1)
    places, whole = DeepInfoMax(encoder, units=16).places(features.layers[0]), features.pooled
    torch.testing.assert_close(whole, encoder(view))
    torch.testing.assert_close(places, encoder.dense(view).flatten(2).transpose(1, 2))


def test_a_map_may_be_narrower_than_the_features():
    encoder = build_encoder("mobilenetv3_small_050", image_size=32)
    method = DeepInfoMax(encoder, units=16)
    assert method.local_network.shortcut.in_features != encoder.width
    assert encoder.training, "looking for the width leaves the mode as it was"


@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_places_are_of_the_map_asked_for(earlier):
    encoder = build_encoder("resnet_slim", image_size=32)
    method = DeepInfoMax(encoder, units=16, earlier=earlier)
    channels, side = [(256, 4), (128, 8), (64, 16)][earlier]
    assert method.local_network.shortcut.in_features == channels
    assert encoder.features(torch.randn(2, 3, 32, 32), layers=earlier + 1).layers[0].shape == (2, channels, side, side)
    for missing in (-1, 9):
        with pytest.raises(ValueError, match=f"earlier is {missing}, and 'resnet_slim' has no such map"):
            DeepInfoMax(encoder, units=16, earlier=missing)


def test_training_has_one_view_and_progress_two():
    method = small_method("deep_infomax")
    assert len(method.views(SIZE, method.augmentation).views) == 1
    (batch,) = small_batches(method, count=1, watched=True)
    assert len(batch.views) == 2 and 0 <= method.eval().progress(batch) <= 1
    assert method.embed(batch.views[0]).shape == (IMAGES, 64)


def test_shortcuts_begin_near_the_identity():
    weight = small_method("deep_infomax").local_network.shortcut.weight
    assert (weight - torch.eye(*weight.shape)).abs().max() <= 0.01


def test_adam_has_the_authors_betas_however_it_is_asked_for():
    paper = DeepInfoMax.optimisation
    none = dict.fromkeys(("optimizer", "lr", "weight_decay", "warmup_epochs", "clip"))
    asked = {**none, "optimizer": "adamw", "lr": 1e-3}
    for optimisation in (paper, *(choose_optimisation(paper, epochs=10, **given) for given in (none, asked))):
        optimiser = build_optimiser([{"params": [nn.Parameter(torch.zeros(2))]}], optimisation)
        assert [group["betas"] for group in optimiser.param_groups] == [(0.5, 0.999)]


def test_what_cannot_work_is_named():
    with pytest.raises(ValueError, match="jsd, info_nce, dv, not 'odd'"):
        small_method("deep_infomax", estimator="odd")
    pooled = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 8))
    with pytest.raises(ValueError, match="forward_intermediates"):
        DeepInfoMax(as_encoder(pooled, image_size=SIZE))
