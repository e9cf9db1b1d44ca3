"""Barlow Twins and VICReg against lightly, and the values that the formulas imply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss, VICRegLoss

from selfsight import losses


@pytest.fixture(params=[16, 5], ids=["more rows than dimensions", "fewer"])
def batch(request):
    return request.param


def pair(batch=16, width=7):
    first = torch.randn(batch, width, dtype=torch.float64)
    second = first + torch.randn(batch, width, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other)


def test_barlow_twins_equals_lightly(batch):
    za, zb = pair(batch)
    agree(losses.barlow_twins(za, zb, 0.01), BarlowTwinsLoss(lambda_param=0.01)(za, zb), (za, zb))


def test_barlow_twins_is_its_formula(batch):
    za, zb = pair(batch)
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (za.detach().numpy(), zb.detach().numpy()))
    correlation = a.T @ b / len(a)
    expected = sum(
        (correlation[i, j] - 1) ** 2 if i == j else 0.0051 * correlation[i, j] ** 2 for i in range(7) for j in range(7)
    )
    assert losses.barlow_twins(za, zb).item() == pytest.approx(expected)


def test_barlow_twins_of_independent_views():
    batch, width = 512, 64
    za, zb = torch.randn(2, batch, width, generator=torch.Generator().manual_seed(0))
    expected = width + 0.0051 * width * (width - 1) / batch
    assert losses.barlow_twins(za, zb).item() == pytest.approx(expected, rel=0.05)


def test_vicreg_equals_lightly(batch):
    za, zb = pair(batch)
    terms = losses.vicreg(za, zb)
    ours = 20 * terms["invariance"] + 10 * terms["variance"] + 3 * terms["covariance"]
    agree(ours, VICRegLoss(lambda_param=20, mu_param=10, nu_param=3)(za, zb), (za, zb))


def test_vicreg_terms_are_their_formulas(batch):
    za, zb = (z.detach().numpy() for z in pair(batch))
    terms = losses.vicreg(torch.from_numpy(za), torch.from_numpy(zb), margin=1.2, eps=1e-3)
    hinges, covariances = [], []
    for z in (za, zb):
        covariance = np.cov(z.T)
        hinges.append(np.maximum(0, 1.2 - np.sqrt(np.diag(covariance) + 1e-3)).mean())
        covariances.append(((covariance - np.diag(np.diag(covariance))) ** 2).sum() / 7)
    assert terms["invariance"].item() == pytest.approx(((za - zb) ** 2).mean())
    assert terms["variance"].item() == pytest.approx(sum(hinges) / 2)
    assert terms["covariance"].item() == pytest.approx(sum(covariances))


def test_vicreg_of_equal_embeddings():
    same = torch.ones(8, 4)
    terms = {name: term.item() for name, term in losses.vicreg(same, same).items()}
    assert 25 * terms["variance"] == pytest.approx(24.75)
    assert terms["invariance"] == terms["covariance"] == 0
