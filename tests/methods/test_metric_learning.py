"""Metric learning: a choice of losses, of positives, and distances that tell a collapse."""

from __future__ import annotations

import pytest
import torch

from conformance.cases import small_method
from selfsight.methods.metric_learning import LOSSES
from selfsight.testing import IMAGES, check_learns, small_batches


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_every_loss_learns(loss):
    check_learns(small_method("metric_learning", loss=loss))


@pytest.mark.parametrize("loss", LOSSES)
def test_labels_are_positives_on_request_and_lacking_ones_classes_of_their_own(loss):
    (batch,) = small_batches(small_method("metric_learning"), count=1)
    by_view = small_method("metric_learning", loss=loss)(batch)["loss"]
    method = small_method("metric_learning", loss=loss, positives="labels")
    by_label = method(batch)["loss"]
    batch.metadata["label"] = torch.full((IMAGES,), -1)
    torch.testing.assert_close(method(batch)["loss"], by_view)
    assert by_label != by_view
    batch.metadata = {}
    with pytest.raises(ValueError, match="label="):
        method(batch)


def test_distances_tell_a_constant_embedding():
    method = small_method("metric_learning")
    (batch,) = small_batches(method, count=1)
    outcome = method(batch)
    assert 0 < outcome["d_ap"] < outcome["d_an"] < 2
    with torch.no_grad():
        method.projector[-1].weight.zero_()
    collapsed = method(batch)
    assert collapsed["d_ap"] < 1e-3 and collapsed["d_an"] < 1e-3


def test_the_boundary_is_learned_with_the_margin_loss_alone():
    assert small_method("metric_learning").beta is None
    method = small_method("metric_learning", loss="margin", beta=1.0, regulariser=0.1)
    (batch,) = small_batches(method, count=1)
    outcome = method(batch)
    outcome["loss"].backward()
    assert outcome["beta"] == 1.0 and method.beta.grad != 0
    assert method.beta in {p for group in method.param_groups() for p in group["params"]}


@pytest.mark.parametrize("option, match", [({"loss": "odd"}, "triplet"), ({"mining": "odd"}, "semi_hard")])
def test_odd_options_are_named(option, match):
    with pytest.raises(ValueError, match=match):
        small_method("metric_learning", **option)
