"""What the papers say beyond the loss: teachers, queues, schedules, groups of parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from conformance.cases import small_method
from selfsight import losses
from selfsight.methods import Plan
from selfsight.methods.barlow_twins import BarlowTwins
from selfsight.methods.simclr import SimCLR
from selfsight.testing import IMAGES, SIZE, small_batches, small_encoder, train
from selfsight.views.colour import GaussianBlur


def step_once(method, batch, optimiser=None):
    loss = method(batch)["loss"]
    loss.backward()
    method.end_backward()
    return loss


def test_moco_encodes_keys_in_even_groups_of_neighbours():
    method = small_method("moco_v2", key_group=10)
    (batch,) = small_batches(method, count=1)
    view, seen = batch.views[1], []
    method.teacher.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    keys = method.key(view)
    assert seen == [8, 8, 8]
    torch.testing.assert_close(keys[8:16], functional.normalize(method.teacher(view[8:16]), dim=1))
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(IMAGES))


def test_moco_enqueues_after_use():
    method = small_method("moco_v2")
    (batch,) = small_batches(method, count=1)
    noise = method.queue.rows.clone()
    method(batch)
    assert torch.equal(method.queue.rows, noise), "a forward pass alone leaves the queue as it was"
    step_once(method, batch)
    assert torch.equal(method.queue.rows[IMAGES:], noise[IMAGES:])
    assert not torch.isclose(method.queue.rows[:IMAGES], noise[:IMAGES]).all(1).any()


def test_moco_keys_stay_out_of_synchronised_batch_norm():
    assert small_method("moco_v2").teacher.sync_batchnorm is False


@pytest.mark.parametrize("name", ["byol", "dino", "moco_v2", "moco_v3"])
def test_teachers_start_as_the_student_and_move_after_the_step_alone(name):
    method = small_method(name, momentum=0.75)
    method.prepare(Plan(samples=IMAGES, steps=4, epochs=1, batch=IMAGES))
    student = [
        p for part in ("encoder", "projector", "head") for p in getattr(method, part, torch.nn.Module()).parameters()
    ]
    teacher = list(method.teacher.parameters())
    assert all(torch.equal(a, b) for a, b in zip(student, teacher, strict=True))
    step_once(method, small_batches(method, count=1)[0])
    before = [p.clone() for p in teacher]
    with torch.no_grad():
        for parameter in student:
            parameter.add_(1)
    method.after_step(2 if name == "moco_v3" else 3)
    momentum = 0.75 if name == "moco_v2" else 0.875  # half-way along the cosine from .75 to 1
    for old, new in zip(before, teacher, strict=True):
        torch.testing.assert_close(new, old + (1 - momentum))


@pytest.mark.parametrize(
    ("name", "first"), [("byol", 0), ("dino", 0), ("joint_embedding", 0), ("moco_v3", 1), ("mean_shift", None)]
)
def test_momentum_follows_the_step_as_in_the_authors_code(name, first):
    """BYOL and DINO move the teacher after step t = 0, 1, ... with m(t); MoCo v3 before the keys of step t."""
    method, seen = small_method(name, momentum=0.8), []
    method.prepare(Plan(samples=4 * IMAGES, steps=8, epochs=2, batch=IMAGES))
    method.teacher.update = lambda source, momentum: seen.append(momentum)
    for step in range(1, 9):
        method.after_step(step)
    expected = [0.8] * 8 if first is None else 1 - 0.2 * (np.cos(np.pi * (np.arange(8) + first) / 8) + 1) / 2
    np.testing.assert_allclose(seen, expected)


def test_swav_prototypes_keep_still_for_an_epoch_and_length_one_for_ever():
    method = small_method("swav", freeze_epochs=1)
    batches = small_batches(method)
    start = method.prototypes.weight.detach().clone()
    train(method, batches, steps=4)  # four epochs
    assert not torch.equal(method.prototypes.weight, start)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(len(start)))
    method.step = 0
    method.zero_grad()
    step_once(method, batches[0])
    assert method.prototypes.weight.grad is None


def test_swav_assigns_with_its_queue_once_that_is_full():
    method = small_method("swav", queue=2 * IMAGES, queue_start=1)
    batches = small_batches(method)
    method.prepare(Plan(samples=2 * IMAGES, steps=20, epochs=10, batch=IMAGES))
    scored = []
    method.prototypes.register_forward_pre_hook(lambda _, inputs: scored.append(len(inputs[0])))
    for method.step in range(6):
        step_once(method, batches[method.step % 2])
    crops = len(batches[0].views) * IMAGES
    # Of each step: the crops; from the third with a queue on, the two queues too.
    assert scored == [crops] * 4 + [crops, 2 * IMAGES, 2 * IMAGES] * 2


def test_dino_follows_its_schedules():
    method = small_method("dino", teacher_temperature=(0.04, 0.07), warmup_epochs=2, freeze_epochs=1)
    method.prepare(Plan(samples=IMAGES, steps=40, epochs=4, batch=IMAGES))
    temperatures = []
    for method.step in (0, 10, 20, 30):
        temperatures.append(method.sharpness)
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    (batch,) = small_batches(method, count=1)
    for method.step, frozen in ((9, True), (10, False)):
        method.zero_grad()
        step_once(method, batch)
        last = method.head.last.parametrizations.weight.original1
        assert (last.grad is None) == frozen


def test_dino_centres_after_use_by_the_mean_of_both_large_crops():
    method = small_method("dino", centre_momentum=0.9)
    (batch,) = small_batches(method, count=1)
    scores = method.teacher(torch.cat(batch.views[:2]))
    method(batch)
    assert method.centre.abs().sum() == 0
    step_once(method, batch)
    torch.testing.assert_close(method.centre, 0.1 * scores.mean(0))


def test_dino_exports_its_teacher_and_softens_small_crops_by_their_own_rule():
    method = small_method("dino", local_blur=0.25)
    assert method.exported is method.teacher.module[0]
    first, second, *small = method.views(SIZE, method.augmentation).views
    colours = [{type(colour).__name__: colour.p for colour in view.colour} for view in (first, second, small[0])]
    assert [c.get("GaussianBlur", 0) for c in colours] == [1.0, 0.1, 0.25]
    assert [c.get("Solarize", 0) for c in colours] == [0, 0.2, 0]
    assert len(small) == 8 and {view.size for view in small} == {12}


def test_barlow_twins_gives_biases_and_norms_a_rate_of_their_own():
    weights, others = BarlowTwins(small_encoder(), projector=(8, 8)).param_groups()
    assert "lr_scale" not in weights
    assert others["lr_scale"] * BarlowTwins.optimisation.lr == pytest.approx(0.0048)


def test_simsiam_keeps_the_predictors_rate_and_stops_the_gradient():
    method = small_method("simsiam")
    constant = {p for group in method.param_groups() if group.get("constant_lr") for p in group["params"]}
    assert constant == set(method.predictor.parameters())


def test_simclr_normalises_two_views_as_one_batch():
    method = SimCLR(small_encoder(), projector=(8, 4))
    (batch,) = small_batches(method, count=1)
    seen = []
    method.projector.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    method(batch)
    assert seen == [2 * IMAGES]
    assert method.projector[-1].weight.requires_grad and not method.projector[-1].bias.requires_grad


def test_mv_mr_leaves_out_targets_without_a_weight():
    method = small_method("mv_mr", hog=0.0, scattering=0.0)
    (batch,) = small_batches(method, count=1)
    outcome = method(batch)
    assert set(outcome) == {
        "loss", "invariance", "variance", "dependence", "pixels", "augmented_pixels", "local_std"
    }  # fmt: skip
    torch.testing.assert_close(outcome["loss"].detach(), sum(outcome[name] for name in outcome if name != "loss"))


def test_mv_mr_offers_the_unbiased_estimator():
    method = small_method("mv_mr", estimator="unbiased")
    (batch,) = small_batches(method, count=1)
    biased = small_method("mv_mr")
    assert method(batch)["pixels"] > biased(batch)["pixels"]
    with pytest.raises(ValueError, match="biased"):
        small_method("mv_mr", estimator="odd")(batch)


def test_mv_mr_blurs_both_augmented_views_always():
    method = small_method("mv_mr")
    view, image, other = method.views(SIZE, method.augmentation).views
    for augmented in (view, other):
        assert [colour.p for colour in augmented.colour if isinstance(colour, GaussianBlur)] == [1.0]
    assert not any(isinstance(colour, GaussianBlur) for colour in image.colour)


def test_rotation_tells_turns_and_names_them_right():
    method = small_method("rotation")
    (batch,) = small_batches(method, count=1)
    for turn, view in enumerate(batch.views):
        assert torch.equal(view, torch.rot90(batch.views[0], turn, (-2, -1)))
    logits, turn = method.eval().classify(batch)
    torch.testing.assert_close(logits[turn == 3], method.head(method.encoder(batch.views[3])))


def test_mae_sees_a_quarter_and_is_judged_on_the_rest():
    method = small_method("mae").eval()
    (batch,) = small_batches(method, count=1)
    visible = batch.draws["visible"]
    assert visible.shape == (IMAGES, 36 // 4)
    loss = method(batch)["loss"]
    changed = batch[:]
    changed.views = [view.clone() for view in batch.views]
    hidden = next(patch for patch in range(36) if patch not in visible[0].tolist())
    row, column = divmod(hidden, 6)
    changed.views[0][0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += torch.randn(3, 4, 4)
    assert method(changed)["loss"] != loss, "a hidden patch is a target"
    tokens = method.encoder.tokens(batch.views[0], visible)
    torch.testing.assert_close(method.encoder.tokens(changed.views[0], visible), tokens)


def test_supcon_pulls_classes_together_and_lets_unlabelled_images_be():
    method = small_method("supcon").eval()
    (batch,) = small_batches(method, count=1)
    labelled = method(batch)["loss"]
    batch.metadata["label"] = torch.full_like(batch.metadata["label"], -1)
    alone = method(batch)["loss"]
    batch.metadata["label"] = torch.arange(IMAGES)
    torch.testing.assert_close(method(batch)["loss"], alone)
    assert labelled != alone


def test_supcon_without_a_head_contrasts_features():
    method = small_method("supcon", projector=()).eval()
    (batch,) = small_batches(method, count=1)
    z = [method.encoder(view) for view in batch.views]
    torch.testing.assert_close(method(batch)["loss"], losses.supcon(z, batch.metadata["label"], 0.1))
    assert not any(name.startswith("projector") for name, _ in method.named_parameters())
