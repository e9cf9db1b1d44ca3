"""Contrastive losses against lightly, pytorch-metric-learning and the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
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


def test_blocks_hold_no_more_than_promised(monkeypatch):
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", 64)
    za, zb = (torch.randn(32, 4, requires_grad=True) for _ in range(2))
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.append(x.numel()) or x, lambda x: x):
        losses.nt_xent(za, zb)
    assert max(held) <= 64 * 4
