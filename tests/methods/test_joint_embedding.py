"""Methods assembled from parts: where the parts are a paper's, so are loss and gradients."""

from __future__ import annotations

import pytest
import torch

from conformance.cases import CASES, small_method
from selfsight.testing import IMAGES, small_batches, train

ALIKE = {
    "simclr": ({"loss": "nt_xent", "temperature": 0.1}, 1),
    "supcon": ({"loss": "nt_xent", "temperature": 0.1, "positives": "labels"}, 1),
    "barlow_twins": ({"loss": "barlow_twins"}, None),
    "vicreg": ({"loss": "vicreg"}, 1),
    "simsiam": ({"loss": "cosine", "predictor": (16, 64)}, 1),
    "byol": ({"loss": "cosine", "predictor": (64, 32), "momentum": 0.8}, 4),
    "moco_v3": ({"loss": "info_nce", "predictor": (64, 32), "momentum": 0.8, "temperature": 1.0}, 4),
    "nnclr": ({"loss": "info_nce", "predictor": (64, 32), "support": 96, "temperature": 0.1}, 1),
}
"""Options that make a named method, and how much larger its gradients are; None where only directions count."""

PARTS = ("encoder", "projector", "predictor", "teacher")


def joint_of(**options):
    """The method of these parts and no others."""
    bare = {"projector": (64, 32), "predictor": (), "momentum": None, "support": 0}
    return small_method("joint_embedding", **{**bare, **options})


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("crops", [0, 2])
def test_the_parts_of_a_paper_give_its_gradients(name, crops):
    """In evaluation mode, since methods differ in which views share the statistics of batch norm."""
    named = small_method(name)
    batch = small_batches(named, count=1)[0]
    if crops:
        batch.views += [view[..., ::2, ::2] for view in batch.views]
    train(named, small_batches(named), steps=2)
    options, factor = ALIKE[name]
    joint = joint_of(projector=CASES[name].options["projector"], **options)
    for part in PARTS:
        if getattr(joint, part, None) is not None and hasattr(named, part):
            setattr(joint, part, getattr(named, part))
    if name == "nnclr":
        joint.support = named.queue
    gradients = []
    for method in (named.eval(), joint.eval()):
        weights = [p for p in method.encoder.parameters() if p.requires_grad]
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(method(batch)["loss"], weights)]))
    theirs, ours = gradients
    if factor is None:
        factor = (theirs.norm() / ours.norm()).item()
    torch.testing.assert_close(factor * ours, theirs, rtol=1e-4, atol=1e-6)


def test_keys_of_a_queue_come_from_both_directions():
    moco = small_method("moco_v2", key_group=IMAGES)
    batch = small_batches(moco, count=1)[0]
    joint = joint_of(momentum=0.9, queue=96, temperature=0.2)
    joint.encoder, joint.projector, joint.teacher, joint.queue = moco.encoder, moco.projector, moco.teacher, moco.queue
    moco.eval(), joint.eval()
    one = moco(batch)["loss"]
    batch.views.reverse()
    other = moco(batch)["loss"]
    torch.testing.assert_close(joint(batch)["loss"], (one + other) / 2)


@pytest.mark.parametrize(
    "options",
    [
        {"support": 96, "neighbours": 3, "predictor": (64, 32)},
        {"loss": "vicreg", "support": 96},
        {"queue": 96, "momentum": 0.9, "support": 96},
        {"bank": 0.5, "support": 96},
        {"bank": 0.5, "queue": 96},
        {"positives": "labels", "predictor": (64, 32), "momentum": 0.9},
    ],
)
def test_parts_that_no_paper_joined_learn_with_small_crops(options):
    method = joint_of(**options)
    batches = small_batches(method)
    for batch in batches:
        batch.views += [view[..., ::2, ::2] for view in batch.views]
    history = train(method, batches, steps=12)
    assert all(map(torch.isfinite, torch.tensor(history)))
    assert method.support is None or method.support.pushed == 12 * IMAGES


@pytest.mark.parametrize(
    "options, named",
    [
        ({"loss": "infonce"}, "info_nce, nt_xent"),
        ({"loss": "cosine"}, "collapses"),
        ({"loss": "vicreg", "queue": 96, "momentum": 0.9}, "negatives of info_nce"),
        ({"queue": 96}, "momentum="),
        ({"positives": "labels", "loss": "vicreg"}, "info_nce"),
        ({"neighbours": 5}, "support="),
        ({"bank": 0.5, "momentum": 0.9}, "leave one out"),
        ({"predictor": (64, 16)}, "one width"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        joint_of(**options)
