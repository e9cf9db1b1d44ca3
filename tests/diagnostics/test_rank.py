"""RankMe against NumPy and the cases whose rank is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight import diagnostics


@pytest.mark.parametrize("shape", [(200, 16), (10, 16)])
def test_rank_me_is_its_formula(shape):
    features = torch.randn(shape, dtype=torch.float64) * torch.linspace(0.1, 3, shape[1]) + 1
    singular = np.linalg.svd(features.numpy(), compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert diagnostics.rank_me(features).item() == pytest.approx(expected)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rank_me_finds_the_rank(rank):
    basis = torch.linalg.qr(torch.randn(300, rank)).Q @ torch.linalg.qr(torch.randn(64, rank)).Q.T
    assert diagnostics.rank_me(basis).item() == pytest.approx(rank, rel=1e-3)


def test_rank_me_of_isotropic_features_is_near_their_width():
    features = torch.randn(2048, 512, generator=torch.Generator().manual_seed(0))
    assert diagnostics.rank_me(features).item() == pytest.approx(495, abs=2)


def test_rank_me_of_what_is_not_finite_is_nan():
    assert diagnostics.rank_me(torch.tensor([[1.0, torch.inf], [2.0, 3.0], [torch.nan, 1.0]])).isnan()


def test_rank_me_of_nothing_is_finite():
    assert diagnostics.rank_me(torch.zeros(8, 4)).isfinite()
