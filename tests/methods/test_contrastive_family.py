"""Traits of the methods that contrast, beyond their losses: neighbours, queues, heads and views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from conformance.cases import CASES, small_method
from selfsight import losses
from selfsight.methods.base import Plan, unit
from selfsight.methods.moco_v3 import MoCoV3
from selfsight.nets import sin_cos_positions
from selfsight.testing import IMAGES, SIZE, Learn, check_learns, small_batches, small_encoder

QUEUES = ["mean_shift", "moco_v1", "moco_v2", "nnclr", "swav"]


def seen_and_pushed(name, **options):
    """A method and a batch that it has seen once before."""
    method = small_method(name, **options)
    (batch,) = small_batches(method, count=1)
    method(batch)["loss"].backward()
    method.end_backward()
    return method, batch


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_shorter_than_a_batch_is_refused_before_training(name):
    method = small_method(name, queue=IMAGES)
    with pytest.raises(ValueError, match=rf"queue of {IMAGES} cannot hold a batch of {IMAGES + 1}: .*queue="):
        method.prepare(Plan(samples=100, steps=1, epochs=1, batch=IMAGES + 1))


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_longer_than_the_data_is_told(name, caplog):
    method = small_method(name, queue=2 * IMAGES)
    caplog.clear()
    method.prepare(Plan(samples=2 * IMAGES, steps=1, epochs=1, batch=IMAGES))
    assert not caplog.records
    method.prepare(Plan(samples=2 * IMAGES - 1, steps=1, epochs=1, batch=IMAGES))
    assert "former embeddings" in caplog.text


def test_swav_without_a_queue_has_none_to_check(caplog):
    small_method("swav", queue=0)
    assert not caplog.records


@pytest.mark.parametrize("name", ["mean_shift", "nnclr"])
def test_an_image_never_finds_itself_in_the_queue(name):
    method = small_method(name)
    (batch,) = small_batches(method, count=1)
    noise = method.queue.rows.clone()
    method(batch)["loss"].backward()
    assert torch.equal(method.queue.rows, noise), "a forward pass alone leaves the queue as it was"
    method.end_backward()
    assert method.queue.pushed == IMAGES
    torch.testing.assert_close(method.queue.rows.norm(dim=1), torch.ones(len(noise)))


def test_nnclr_with_the_batch_as_its_support_set_contrasts_across_views():
    method = small_method("nnclr", queue=2 * IMAGES)
    (batch,) = small_batches(method, count=1)
    za, zb = map(method.embed, batch.views)
    method.queue.push(torch.cat([unit(za), unit(zb)]).detach())
    pa, pb = map(method.predictor, (za, zb))
    expected = (losses.cross_view(za, pb, 0.1) + losses.cross_view(zb, pa, 0.1)) / 2
    torch.testing.assert_close(method(batch)["loss"], expected)


def test_nnclr_remembers_first_views_and_passes_no_gradient_to_neighbours():
    method, batch = seen_and_pushed("nnclr")
    torch.testing.assert_close(method.queue.rows[:IMAGES], unit(method.embed(batch.views[0])))
    assert not method.queue.rows.requires_grad


def test_mean_shift_with_one_neighbour_is_byol_in_one_direction():
    method, batch = seen_and_pushed("mean_shift", neighbours=1)
    strong, weak = batch.views
    expected = losses.byol(method.predictor(method.embed(strong)), method.teacher(weak))
    torch.testing.assert_close(method(batch)["loss"], expected)


def test_mean_shift_has_its_target_among_the_neighbours():
    method, batch = seen_and_pushed("mean_shift", neighbours=3)
    strong, weak = batch.views
    target = method.teacher(weak)
    neighbours = torch.cat([unit(target)[:, None], method.queue.nearest(target, 2)], 1)
    expected = losses.mean_shift(method.predictor(method.embed(strong)), neighbours)
    torch.testing.assert_close(method(batch)["loss"], expected)


@pytest.mark.parametrize("crops", [(2, 0), (2, 3)])
def test_mean_shift_leaves_the_pixels_of_its_targets_as_they_are(crops):
    method = small_method("mean_shift")
    augmentation = type(method.augmentation)(blur=0.5, crops=crops)
    strong, weak, *small = method.views(SIZE, augmentation).views
    assert not weak.colour and weak.size == SIZE and weak.geometry == strong.geometry
    assert all(view.colour for view in (strong, *small)) and len(small) == crops[1]


@pytest.mark.parametrize("neighbours", [0, 97])
def test_mean_shift_refuses_neighbours_that_do_not_exist(neighbours):
    with pytest.raises(ValueError, match=rf"neighbours is {neighbours}: .* at most the queue's 96"):
        small_method("mean_shift", neighbours=neighbours)


def test_moco_v1_has_a_linear_head():
    method = small_method("moco_v1")
    assert [type(layer) for layer in method.projector] == [nn.Linear] and method.temperature == 0.07


def layers(head):
    return [(type(layer).__name__, getattr(layer, "out_features", None)) for layer in head]


def test_moco_v3_has_the_heads_of_a_resnet_or_of_a_vit():
    resnet, vit = MoCoV3(small_encoder("resnet")), MoCoV3(small_encoder("vit"))
    hidden = [("Linear", 4096), ("BatchNorm1d", None), ("ReLU", None)]
    out = [("Linear", 256), ("BatchNorm1d", None)]
    assert layers(resnet.projector) == hidden + out and layers(resnet.predictor) == hidden + out[:1]
    assert layers(vit.projector) == 2 * hidden + out and layers(vit.predictor) == hidden + out
    assert not any(layer.affine for layer in (resnet.projector[-1], vit.projector[-1], vit.predictor[-1]))
    assert all(
        layer.bias is None for layer in vit.modules() if isinstance(layer, nn.Linear) and 256 in layer.weight.shape
    )
    assert (resnet.temperature, vit.temperature) == (1.0, 0.2)


def test_moco_v3_freezes_the_patches_and_positions_of_a_vit():
    encoder = MoCoV3(small_encoder("vit")).encoder.model
    assert not any(p.requires_grad for p in (*encoder.patch_embed.parameters(), encoder.pos_embed))
    torch.testing.assert_close(encoder.pos_embed[0, -36:], sin_cos_positions((6, 6), 48))
    learned = MoCoV3(small_encoder("vit"), freeze_patches=False).encoder.model
    assert all(p.requires_grad for p in learned.patch_embed.parameters())


def test_moco_v3_sums_both_directions_times_twice_the_temperature():
    method = small_method("moco_v3", temperature=0.3)
    (batch,) = small_batches(method, count=1)
    queries = [method.predictor(method.embed(view)) for view in batch.views]
    ka, kb = map(method.teacher, batch.views)
    both = losses.cross_view(queries[0], kb, 0.3) + losses.cross_view(queries[1], ka, 0.3)
    torch.testing.assert_close(method(batch)["loss"], 2 * 0.3 * both)


def test_moco_v3_learns_with_a_transformer():
    check_learns("moco_v3", replace(CASES["moco_v3"], encoder="vit", learns=Learn(steps=80)))


@pytest.mark.parametrize("name", ["debiased", "hard_negatives"])
@pytest.mark.parametrize("prior", [-0.1, 1.0])
def test_a_prior_is_a_share(name, prior):
    with pytest.raises(ValueError, match=rf"prior is {prior}: .* less than 1"):
        small_method(name, prior=prior)


def test_limits_hold_for_the_methods_too():
    (batch,) = small_batches(small_method("simclr"), count=1)
    debiased, hard = small_method("debiased"), small_method("hard_negatives", beta=0.0)
    torch.testing.assert_close(debiased(batch)["loss"], hard(batch)["loss"])
    dcl, dclw = small_method("dcl"), small_method("dclw", sigma=1e6)
    torch.testing.assert_close(dcl(batch)["loss"], dclw(batch)["loss"], rtol=1e-4, atol=0)


def test_align_uniform_logs_its_terms():
    method = small_method("align_uniform", alignment=3.0, uniformity=0.5)
    (batch,) = small_batches(method, count=1)
    outcome = method(batch)
    torch.testing.assert_close(outcome["loss"].detach(), 3 * outcome["alignment"] + 0.5 * outcome["uniformity"])
    za, zb = map(method.embed, batch.views)
    assert outcome["uniformity"] < 0 < outcome["alignment"] and za.shape == zb.shape


def test_lars_leaves_biases_and_norms_of_moco_v3_out_and_others_decay_them():
    method = small_method("moco_v3")
    weights, others = method.param_groups()
    assert all(parameter.ndim > 1 for parameter in weights["params"]) and "adapt" not in weights
    assert all(parameter.ndim <= 1 for parameter in others["params"]) and others["adapt"] is False
    assert not any("weight_decay" in group for group in (weights, others))
    assert len(weights["params"]) + len(others["params"]) == sum(p.requires_grad for p in method.parameters())
