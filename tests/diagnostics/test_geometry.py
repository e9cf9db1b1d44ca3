"""Spread, alignment, uniformity and matching against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfsight import diagnostics


def unit(x):
    x = x.numpy()
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_each_is_its_formula():
    a, b = torch.randn(2, 20, 6, dtype=torch.float64)
    ua, ub = unit(a), unit(b)
    assert diagnostics.spread(a).item() == pytest.approx(ua.std(0).mean() * math.sqrt(6))
    assert diagnostics.alignment(a, b).item() == pytest.approx(((ua - ub) ** 2).sum(1).mean())
    potentials = [math.exp(-3 * ((ua[i] - ua[j]) ** 2).sum()) for i in range(20) for j in range(i)]
    assert diagnostics.uniformity(a, t=3).item() == pytest.approx(math.log(np.mean(potentials)))
    nearest = (ua @ ub.T).argmax(1)
    assert diagnostics.view_matching_accuracy(a, b).item() == pytest.approx((nearest == np.arange(20)).mean())


def test_collapsed_and_spread_features():
    same, spread = torch.ones(64, 32), torch.randn(2048, 512, generator=torch.Generator().manual_seed(0))
    assert diagnostics.spread(same).item() == pytest.approx(0, abs=1e-6)
    assert diagnostics.uniformity(same).item() == pytest.approx(0, abs=1e-5)
    assert diagnostics.alignment(same, 2 * same).item() == pytest.approx(0, abs=1e-6)
    assert diagnostics.spread(spread).item() == pytest.approx(1, abs=0.01)
    assert diagnostics.uniformity(spread).item() == pytest.approx(-4 + 8 / 512, abs=0.01)


def test_matching_views_match():
    a = torch.randn(50, 16)
    assert diagnostics.view_matching_accuracy(a, 3 * a) == 1
    assert diagnostics.view_matching_accuracy(a, a.flip(0)) == 0


def test_half_precision_is_measured_in_single():
    features = torch.randn(32, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        for measure in (diagnostics.spread, diagnostics.uniformity, diagnostics.rank_me):
            assert measure(features).dtype == torch.float32
            assert torch.equal(measure(features), measure(features.float()))
