"""Entropies of assignments at their extremes."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch

from selfsight import diagnostics


def test_certain_and_balanced():
    certain = torch.eye(5).repeat(3, 1)
    assert diagnostics.entropy(certain) == 0
    assert diagnostics.usage_entropy(certain).item() == pytest.approx(math.log(5))


def test_uniform_and_collapsed():
    assert diagnostics.entropy(torch.full((4, 5), 0.2)).item() == pytest.approx(math.log(5))
    collapsed = torch.eye(5)[[0, 0, 0]]
    assert diagnostics.usage_entropy(collapsed) == 0


def test_between_the_extremes_equals_scipy():
    probabilities = torch.rand(7, 5, dtype=torch.float64)
    probabilities /= probabilities.sum(1, keepdim=True)
    rows = scipy.stats.entropy(probabilities.numpy(), axis=1)
    assert diagnostics.entropy(probabilities).item() == pytest.approx(rows.mean())
    assert diagnostics.usage_entropy(probabilities).item() == pytest.approx(scipy.stats.entropy(probabilities.mean(0)))
