"""Contrastive losses against lightly, pytorch-metric-learning and the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import DCLLoss, DCLWLoss, NTXentLoss
from lightly.loss.hypersphere_loss import HypersphereLoss
from pytorch_metric_learning.losses import SupConLoss

from selfsight import losses
from selfsight.losses import blocks


def views(count=2, batch=6, width=5):
    return list(torch.randn(count, batch, width, dtype=torch.float64).requires_grad_())


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other)


def test_nt_xent_equals_lightly():
    za, zb = views()
    agree(losses.nt_xent(za, zb, 0.3), NTXentLoss(temperature=0.3)(za, zb), (za, zb))


@pytest.mark.parametrize("batch", [1, 5])
def test_nt_xent_of_equal_embeddings(batch):
    same = torch.ones(batch, 4)
    assert losses.nt_xent(same, same).item() == pytest.approx(math.log(2 * batch - 1), abs=1e-6)


def test_info_nce_is_its_formula():
    q, k = views()
    queue = F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=1)
    unit_q, unit_k, bank = (F.normalize(x.detach(), dim=1).numpy() for x in (q, k, queue))
    total = 0.0
    for query, key in zip(unit_q, unit_k, strict=True):
        positive = np.exp(query @ key / 0.2)
        total -= np.log(positive / (positive + np.exp(bank @ query / 0.2).sum()))
    assert losses.info_nce(q, k, queue, 0.2).item() == pytest.approx(total / 6)


def test_info_nce_of_equal_embeddings():
    same = F.normalize(torch.ones(9, 4), dim=1)
    assert losses.info_nce(same[:3], same[:3], same).item() == pytest.approx(math.log(10), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_supcon_equals_pytorch_metric_learning(count):
    z = views(count)
    labels = torch.tensor([0, 1, 0, 1, 2, 2])
    theirs = SupConLoss(temperature=0.2)(torch.cat(z), labels.repeat(count))
    agree(losses.supcon(z, labels, 0.2), theirs, z)


def test_cross_view_with_labels_is_its_formula():
    za, zb = (view.detach() for view in views())
    labels = torch.tensor([0, -1, 0, -1, 2, 1])
    a, b = (F.normalize(view, dim=1).numpy() for view in (za, zb))
    total = 0.0
    for i in range(6):
        positives = [j for j in range(6) if j == i or (labels[i] >= 0 and labels[i] == labels[j])]
        total += np.log(np.exp(b @ a[i] / 0.3).sum()) - np.mean([b[j] @ a[i] / 0.3 for j in positives])
    assert losses.cross_view(za, zb, 0.3, labels).item() == pytest.approx(total / 6)
    everyone_alone = losses.cross_view(za, zb, 0.3, torch.full((6,), -1))
    torch.testing.assert_close(everyone_alone, losses.cross_view(za, zb, 0.3))


def supcon_formula(z, labels, temperature):
    """L_out with a loop over anchors; an unlabelled image is a class of its own."""
    view, batch, _ = z.shape
    flat = z.reshape(view * batch, -1) / np.linalg.norm(z, axis=-1).reshape(-1, 1)
    image = np.tile(np.arange(batch), view)
    classes = np.where(labels[image] < 0, -1 - image, labels[image])
    total = 0.0
    for anchor in range(len(flat)):
        similarity = flat @ flat[anchor] / temperature
        others = np.arange(len(flat)) != anchor
        positives = others & (classes == classes[anchor])
        if positives.any():
            total -= (similarity[positives] - np.log(np.exp(similarity[others]).sum())).mean()
    return total / len(flat)


@pytest.mark.parametrize("count", [1, 3])
def test_supcon_with_missing_labels_and_lonely_anchors(count):
    z = torch.stack(views(count))
    labels = torch.tensor([0, -1, 0, -1, 2, 1])
    expected = supcon_formula(z.detach().numpy(), labels.numpy(), 0.1)
    assert losses.supcon(z, labels).item() == pytest.approx(expected)
    scaled = losses.supcon(z, labels, temperature=0.1, base_temperature=0.07).item()
    assert scaled == pytest.approx(expected * 0.1 / 0.07)


def test_supcon_without_labels_is_nt_xent():
    za, zb = views()
    agree(losses.supcon([za, zb], torch.full((6,), -1), 0.5), losses.nt_xent(za, zb, 0.5), (za, zb))


def test_cross_view_is_its_formula():
    q, k = views()
    a, b = (F.normalize(x.detach(), dim=1).numpy() for x in (q, k))
    terms = [np.log(sum(np.exp(a[i] @ key / 0.2) for key in b)) - a[i] @ b[i] / 0.2 for i in range(6)]
    assert losses.cross_view(q, k, 0.2).item() == pytest.approx(np.mean(terms))


def test_cross_view_is_one_direction_of_pytorchs_cross_entropy():
    q, k = views()
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / 0.2
    agree(losses.cross_view(q, k, 0.2), F.cross_entropy(logits, torch.arange(6)), (q, k))


def test_cross_view_of_equal_embeddings():
    same = torch.ones(5, 4)
    assert losses.cross_view(same, same).item() == pytest.approx(math.log(5), abs=1e-6)


def test_dcl_equals_lightly():
    za, zb = views()
    agree(losses.dcl(za, zb, 0.3), DCLLoss(temperature=0.3)(za, zb), (za, zb))


def lightlys_weights(sigma):
    """lightly's own warns that it copies a tensor."""
    return lambda za, zb: 2 - len(za) * ((za.detach() * zb.detach()).sum(1) / sigma).softmax(0)


def test_weighted_dcl_equals_lightly():
    za, zb = views()
    theirs = DCLLoss(temperature=0.3, weight_fn=lightlys_weights(0.4))(za, zb)
    agree(losses.dcl(za, zb, 0.3, sigma=0.4), theirs, (za, zb))
    with pytest.warns(UserWarning, match="copy construct"):
        assert losses.dcl(za, zb, 0.3, sigma=0.4).item() == pytest.approx(DCLWLoss(0.3, 0.4)(za, zb).item())


def test_weights_of_dcl_average_one_and_grow_with_disagreement():
    za, zb = views()
    weights = losses.dcl_weights(za, zb, 0.5)
    torch.testing.assert_close(weights.mean(), torch.ones((), dtype=torch.float64))
    assert torch.equal(weights.argsort(), F.cosine_similarity(za, zb).argsort(descending=True))


def weights_of_a_rank(za, zb):
    mine = slice(3 * torch.distributed.get_rank(), 3 * torch.distributed.get_rank() + 3)
    return losses.dcl_weights(za[mine], zb[mine])


def test_weights_of_dcl_average_one_over_all_ranks(gloo_pool):
    za, zb = (view.detach() for view in views())
    torch.testing.assert_close(torch.cat(gloo_pool.run(weights_of_a_rank, za, zb)), losses.dcl_weights(za, zb))


@pytest.mark.parametrize("sigma", [None, 0.5])
def test_dcl_of_equal_embeddings(sigma):
    same = torch.ones(5, 4)
    assert losses.dcl(same, same, 0.1, sigma).item() == pytest.approx(math.log(8), abs=1e-5)


def debiased_formula(za, zb, temperature, prior, beta):
    """Weights, correction and floor in plain exponentials, anchor by anchor."""
    a, b = (F.normalize(x.detach(), dim=1).numpy() for x in (za, zb))
    total, count = 0.0, 2 * len(a) - 2
    for first, second in ((a, b), (b, a)):
        for i, anchor in enumerate(first):
            positive = np.exp(anchor @ second[i] / temperature)
            others = np.concatenate([np.delete(first, i, 0), np.delete(second, i, 0)])
            negatives = np.exp(others @ anchor / temperature)
            weights = negatives**beta / np.mean(negatives**beta)
            corrected = ((weights * negatives).sum() - prior * count * positive) / (1 - prior)
            corrected = max(corrected, count * np.exp(-1 / temperature))
            total -= np.log(positive / (positive + corrected))
    return total / (2 * len(a))


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_hard_negatives_are_their_formula(prior, beta):
    za, zb = views()
    expected = debiased_formula(za, zb, 0.5, prior, beta)
    assert losses.hard_negatives(za, zb, 0.5, prior, beta).item() == pytest.approx(expected)


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.7])
def test_debiased_is_its_formula_and_hard_negatives_without_beta(prior):
    za, zb = views()
    debiased = losses.debiased(za, zb, 0.5, prior)
    assert debiased.item() == pytest.approx(debiased_formula(za, zb, 0.5, prior, 0.0))
    agree(losses.hard_negatives(za, zb, 0.5, prior, beta=0.0), debiased, (za, zb))


def test_debiased_without_a_prior_is_nt_xent():
    za, zb = views()
    agree(losses.debiased(za, zb, 0.3, prior=0.0), losses.nt_xent(za, zb, 0.3), (za, zb))


def test_debiased_and_hard_negatives_of_equal_embeddings():
    same = torch.ones(5, 4)
    for loss in (losses.debiased(same, same), losses.hard_negatives(same, same)):
        assert loss.item() == pytest.approx(math.log(9), abs=1e-5)


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.9])
def test_nothing_overflows_in_single_precision(prior):
    za, zb = (torch.randn(8, 5).requires_grad_() for _ in range(2))
    for loss in (
        losses.hard_negatives(za, zb, temperature=0.005, prior=prior, beta=6.0),
        losses.debiased(za, zb, temperature=0.005, prior=prior),
        losses.dcl(za, zb, temperature=0.005, sigma=0.005),
        losses.uniformity(za, t=500.0),
    ):
        assert loss.isfinite()
        assert all(g is None or g.isfinite().all() for g in torch.autograd.grad(loss, (za, zb), allow_unused=True))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_alignment_and_uniformity_equal_lightly(alpha):
    za, zb = views()
    ours = losses.alignment(za, zb, alpha) + (losses.uniformity(za, 1.5) + losses.uniformity(zb, 1.5)) / 2
    agree(ours, HypersphereLoss(t=1.5, alpha=alpha)(za, zb), (za, zb))


def test_alignment_and_uniformity_of_equal_embeddings_are_zero():
    same = torch.ones(5, 4)
    assert losses.uniformity(same).item() == pytest.approx(0, abs=1e-6)
    assert losses.alignment(same, same).item() == 0
    assert losses.alignment(same, same, alpha=1.0).item() == pytest.approx(0, abs=1e-5)


def test_uniformity_of_two_opposite_points_is_their_distance():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert losses.uniformity(opposite, t=3.0).item() == pytest.approx(-12)


@pytest.mark.parametrize("largest", [1, 30])
def test_blocks_change_nothing(monkeypatch, largest):
    za, zb = views()
    labels = torch.tensor([0, -1, 0, 1, 2, 1])
    queue = F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=1)

    def all_of_them():
        pairs = (losses.nt_xent, losses.cross_view, losses.dcl, losses.debiased, losses.hard_negatives)
        others = losses.supcon([za, zb], labels) + losses.info_nce(za, zb, queue) + losses.uniformity(za)
        return sum(loss(za, zb) for loss in pairs) + others

    whole = all_of_them()
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", largest)
    agree(all_of_them(), whole, (za, zb))


def test_blocks_hold_no_more_than_promised(monkeypatch):
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", 64)
    za, zb = (torch.randn(32, 4, requires_grad=True) for _ in range(2))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        losses.nt_xent(za, zb)
    assert max(held) <= 64 * 4
