"""Bounds on mutual information against their formulas in loops, and their values where nothing is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfsight import losses
from selfsight.losses import blocks

IMAGES, PLACES = 5, 3
BOUNDS = [losses.jensen_shannon, losses.donsker_varadhan, losses.local_info_nce]


def features():
    places = torch.randn(IMAGES, PLACES, 4, dtype=torch.float64, requires_grad=True)
    return places, torch.randn(IMAGES, 4, dtype=torch.float64, requires_grad=True)


def scores():
    """Features, and the scores of matching and of other pairs, image by image."""
    places, whole = features()
    u = np.einsum("ild,jd->ijl", places.detach().numpy(), whole.detach().numpy())
    return places, whole, u


def test_jensen_shannon_is_its_formula():
    places, whole, u = scores()
    alike, unlike = [], []
    for i in range(IMAGES):
        for j in range(IMAGES):
            for score in u[i, j]:
                if i == j:
                    alike.append(math.log(2) - math.log1p(math.exp(-score)))
                else:
                    unlike.append(math.log1p(math.exp(score)) - math.log(2))
    expected = np.mean(unlike) - np.mean(alike)
    assert losses.jensen_shannon(places, whole).item() == pytest.approx(expected)


def test_donsker_varadhan_is_its_formula():
    places, whole, u = scores()
    unlike = [math.exp(score) for i in range(IMAGES) for j in range(IMAGES) if i != j for score in u[i, j]]
    alike = [score for i in range(IMAGES) for score in u[i, i]]
    expected = math.log(np.mean(unlike)) - np.mean(alike)
    assert losses.donsker_varadhan(places, whole).item() == pytest.approx(expected)


def test_local_info_nce_is_its_formula():
    places, whole, u = scores()
    total = 0.0
    for j in range(IMAGES):
        others = sum(math.exp(score) for i in range(IMAGES) if i != j for score in u[i, j])
        for score in u[j, j]:
            total -= math.log(math.exp(score) / (math.exp(score) + others))
    assert losses.local_info_nce(places, whole).item() == pytest.approx(total / (IMAGES * PLACES))


def test_where_nothing_is_known():
    places, whole = torch.zeros(IMAGES, PLACES, 4), torch.randn(IMAGES, 4)
    assert losses.jensen_shannon(places, whole).item() == pytest.approx(0, abs=1e-6)
    assert losses.donsker_varadhan(places, whole).item() == pytest.approx(0, abs=1e-6)
    expected = math.log(1 + (IMAGES - 1) * PLACES)
    assert losses.local_info_nce(places, whole).item() == pytest.approx(expected)


def test_where_all_is_known():
    whole = 1000 * (2 * torch.eye(IMAGES) - 1)
    places = torch.eye(IMAGES)[:, None].expand(-1, PLACES, -1)
    assert losses.jensen_shannon(places, whole).item() == pytest.approx(-2 * math.log(2))
    assert losses.local_info_nce(places, whole).item() == pytest.approx(0)
    assert losses.donsker_varadhan(places, whole).item() == pytest.approx(-2000)


def test_places_of_the_same_image_are_no_negatives_however_low_the_scores_of_others():
    whole = 100 * torch.eye(2) - 50
    places = torch.stack([torch.tensor([[1.0, 0.0], [0.2, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.2]])])
    assert losses.local_info_nce(places, whole).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.__name__)
@pytest.mark.parametrize("largest", [1, 2 * IMAGES * PLACES])
def test_blocks_change_nothing(monkeypatch, largest, bound):
    leaves = features()
    whole = bound(*leaves)
    expected = torch.autograd.grad(whole, leaves)
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", largest)
    in_blocks = bound(*leaves)
    torch.testing.assert_close(in_blocks, whole)
    torch.testing.assert_close(torch.autograd.grad(in_blocks, leaves), expected)
