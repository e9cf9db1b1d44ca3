"""Metric-learning losses against pytorch-metric-learning and the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.losses import MarginLoss, NPairsLoss, TripletMarginLoss
from pytorch_metric_learning.miners import distance_weighted_miner
from torch.nn import functional

from selfsight import distributed, losses
from selfsight.losses import blocks
from selfsight.losses.metric import compare, distance_weights

LABELS = torch.tensor([0, 1, 0, 1, 2, 2])


def views(count=2, batch=6, width=5):
    return list(torch.randn(count, batch, width, dtype=torch.float64).requires_grad_())


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other)


def kinds(labels, count):
    """Their labels of all views, which an image without one of ours does not share."""
    return (torch.arange(6) if labels is None else labels).repeat(count)


@pytest.mark.parametrize("labels", [None, LABELS], ids=["images", "labels"])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
@pytest.mark.parametrize("count", [2, 3])
def test_triplets_are_those_of_pytorch_metric_learning(count, mining, smooth, labels):
    z, margin = views(count), 0.4
    miner = {
        "all": lambda *_: None,
        "semi_hard": miners.TripletMarginMiner(margin, type_of_triplets="semihard"),
        "hard": miners.BatchHardMiner(),
    }[mining]
    together, of_all = torch.cat(z), kinds(labels, count)
    theirs = TripletMarginLoss(margin=margin, smooth_loss=smooth)(together, of_all, miner(together, of_all))
    assert theirs > 0
    agree(losses.triplet(z, labels, margin, mining, smooth), theirs, z)


def test_an_odd_mining_is_named():
    with pytest.raises(ValueError, match="semi_hard, hard, all, not 'easy'"):
        losses.triplet(views(), mining="easy")


@pytest.mark.parametrize("mining, expected", [("all", 0.3), ("hard", 0.3), ("semi_hard", 0.0)])
def test_triplets_of_equal_embeddings(mining, expected):
    z = torch.ones(2, 4, 3, requires_grad=True)
    value = losses.triplet(z, margin=0.3, mining=mining)
    value.backward()
    assert value.item() == pytest.approx(expected)
    assert z.grad.abs().max() < 1e-6, "a constant embedding is a stationary point"


def test_negatives_weigh_as_those_of_pytorch_metric_learning_are_drawn(monkeypatch):
    z, seen = views(width=7), []
    monkeypatch.setattr(
        distance_weighted_miner.lmu, "get_random_triplet_indices", lambda *_, weights, **__: seen.append(weights)
    )
    miners.DistanceWeightedMiner().mine(*[torch.cat(z), LABELS.repeat(2)] * 2)
    these = compare(z, LABELS, normalise=True)
    d, _, negative = these.distances(these.anchors, these.itself)
    torch.testing.assert_close(distance_weights(d, negative, 7), seen[0])


def margin_formula(z, labels, beta, margin):
    """A loop over triplets, each with the probability that its negative is drawn."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    dim, total, active = z.shape[1], 0.0, 0.0
    for a in range(len(z)):
        d = np.linalg.norm(z - z[a], axis=1)
        kept = np.clip(d, 0.5, None)
        with np.errstate(invalid="ignore", divide="ignore"):
            weights = kept ** (2 - dim) * (1 - kept**2 / 4) ** ((3 - dim) / 2)
        weights = np.where((labels != labels[a]) & (kept < 1.4), weights, 0)
        if not weights.sum():
            continue
        weights /= weights.sum()
        for p in range(len(z)):
            if p == a or labels[p] != labels[a]:
                continue
            near = max(0, d[p] - beta + margin)
            total, active = total + near, active + (near > 0)
            for n in range(len(z)):
                far = max(0, beta - d[n] + margin)
                total, active = total + weights[n] * far, active + weights[n] * (far > 0)
    return total / active


@pytest.mark.parametrize("labels", [None, LABELS], ids=["images", "labels"])
def test_margin_is_its_formula(labels):
    z = views(3, width=7)
    expected = margin_formula(torch.cat(z).detach().numpy(), kinds(labels, 3).numpy(), 1.1, 0.2)
    assert losses.margin(z, labels, 1.1).item() == pytest.approx(expected)
    assert losses.margin(z, labels, 1.1, regulariser=0.5).item() == pytest.approx(expected + 0.55)


def test_negatives_nearer_than_a_half_weigh_alike_and_those_beyond_1_4_nothing():
    d = torch.tensor([[0.1, 0.5, 0.9, 1.3, 1.41]])
    near, half, middle, far, beyond = distance_weights(d, torch.ones_like(d, dtype=torch.bool), 7)[0].tolist()
    assert near == half > middle > far > beyond == 0
    assert near + half + middle + far == pytest.approx(1)


def test_margin_equals_pytorch_metric_learning_where_only_one_negative_can_be_drawn():
    angles = torch.tensor([0.0, 3.2, 1.0, 4.5], dtype=torch.float64)
    z = torch.stack([angles.cos(), angles.sin(), 0.3 * angles.sin() + 0.1], 1).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1])
    d = torch.cdist(*[functional.normalize(z.detach(), dim=1)] * 2)
    assert ((d < 1.4) & (labels[:, None] != labels)).sum(1).tolist() == [1, 1, 1, 1]
    beta = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    theirs = MarginLoss(beta=1.2)(z, labels, miners.DistanceWeightedMiner()(z, labels))
    assert theirs > 0
    agree(losses.margin(z[None], labels, beta), theirs, [z])


def margin_on_shard(z):
    mine = z[:, 3 * distributed.rank() : 3 * distributed.rank() + 3].requires_grad_()
    value = losses.margin(mine)
    return value.detach(), torch.autograd.grad(value, mine)[0]


def test_margin_on_two_ranks_is_the_global_one(gloo_pool):
    z = torch.stack(views(width=7)).detach().requires_grad_()
    (first, first_gradient), (second, second_gradient) = gloo_pool.run(margin_on_shard, z.detach())
    whole = losses.margin(z)
    torch.testing.assert_close((first + second) / 2, whole)
    (gradient,) = torch.autograd.grad(whole, z)
    torch.testing.assert_close(torch.cat([first_gradient, second_gradient], 1) / 2, gradient)


def test_margin_of_equal_embeddings():
    assert losses.margin(torch.ones(2, 4, 3)).item() == pytest.approx(1.4, abs=1e-3)


@pytest.mark.parametrize("labels", [None, torch.full((6,), -1), torch.arange(6)], ids=["images", "missing", "own"])
def test_n_pair_equals_pytorch_metric_learning(labels):
    za, zb = views()
    loss = NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    theirs = loss(torch.cat([za, zb]), torch.arange(6).repeat(2))
    lengths = (za.square().sum() + zb.square().sum()) / 6
    torch.testing.assert_close(losses.n_pair(za, zb, labels, penalty=0.4), theirs + 0.1 * lengths)
    agree(losses.n_pair(za, zb, labels, penalty=0.0), theirs, (za, zb))


def test_n_pair_with_labels_is_its_formula():
    za, zb = views()
    scores = (za @ zb.T).detach().numpy()
    total = 0.0
    for a in range(6):
        positives = [p for p in range(6) if LABELS[p] == LABELS[a]]
        others = sum(np.exp(scores[a, n]) for n in range(6) if n not in positives)
        total += np.mean([np.log(1 + others / np.exp(scores[a, p])) for p in positives])
    assert losses.n_pair(za, zb, LABELS, penalty=0.0).item() == pytest.approx(total / 6)


def test_n_pair_of_nothing_and_of_one_class():
    nothing = torch.zeros(5, 3)
    assert losses.n_pair(nothing, nothing).item() == pytest.approx(math.log(5))
    assert losses.n_pair(nothing, nothing, torch.zeros(5, dtype=torch.int64)) == 0


def soft_nearest_neighbour_formula(z, labels, temperature):
    total, anchors = 0.0, 0
    for a in range(len(z)):
        weight = np.exp(-((z - z[a]) ** 2).sum(1) / temperature)
        others = np.arange(len(z)) != a
        positives = others & (labels == labels[a])
        if positives.any():
            total, anchors = total - np.log(weight[positives].sum() / weight[others].sum()), anchors + 1
    return total / anchors


@pytest.mark.parametrize("count", [1, 3])
def test_soft_nearest_neighbour_is_its_formula(count):
    z, labels = views(count), torch.tensor([0, 1, 0, -1, 2, -1])
    own = torch.tensor([0, 1, 0, -2, 2, -3]).repeat(count).numpy()
    expected = soft_nearest_neighbour_formula(torch.cat(z).detach().numpy(), own, 0.7)
    assert losses.soft_nearest_neighbour(z, labels, 0.7).item() == pytest.approx(expected)


def test_soft_nearest_neighbour_of_two_views_on_the_sphere_is_nt_xent():
    z = views()
    sphere = [functional.normalize(view, dim=1) for view in z]
    agree(losses.soft_nearest_neighbour(sphere, temperature=0.6), losses.nt_xent(*z, temperature=0.3), z)


def test_soft_nearest_neighbour_of_equal_embeddings():
    assert losses.soft_nearest_neighbour(torch.ones(3, 4, 2)).item() == pytest.approx(math.log(11 / 2), abs=1e-6)


def every_loss(z, labels):
    total = losses.margin(z, labels) + losses.soft_nearest_neighbour(z, labels) + losses.n_pair(*z, labels)
    return total + sum(losses.triplet(z, labels, mining=mining) for mining in ("all", "semi_hard", "hard"))


@pytest.mark.parametrize("labels", [None, LABELS], ids=["images", "labels"])
@pytest.mark.parametrize("largest", [1, 30])
def test_blocks_change_nothing(monkeypatch, largest, labels):
    z = views()
    whole = every_loss(z, labels)
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", largest)
    agree(every_loss(z, labels), whole, z)


@pytest.mark.parametrize("labels", [None, LABELS], ids=["images", "labels"])
def test_missing_labels_are_classes_of_their_own(labels):
    z = views()
    alone = torch.full((6,), -1) if labels is None else LABELS
    agree(every_loss(z, alone), every_loss(z, labels), z)
