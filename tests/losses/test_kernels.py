"""Kernels against scikit-learn's, bandwidths against SciPy's, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde, norm
from sklearn.neighbors import KernelDensity

from selfsight import losses
from selfsight.losses.kernels import KERNELS

NEAR = torch.tensor([0.0, 0.3, 1.1, 2.4, 2.6, 9.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["epanechnikov", "linear", "cosine", "gaussian"])
@pytest.mark.parametrize("columns", [1, 2])
def test_shapes_are_those_of_scikit_learn(name, columns):
    values = torch.stack([NEAR, NEAR.flip(0) / 9][:columns], 1)
    ours = losses.kernel_weights(values, values, name, 2.5)
    theirs = np.stack(
        [np.exp(KernelDensity(bandwidth=2.5, kernel=name).fit(one[None]).score_samples(values)) for one in values]
    )
    np.testing.assert_allclose(ours / ours[0, 0], theirs / theirs[0, 0], atol=1e-12)


def test_rbf_and_cauchy_are_their_formulas():
    difference = NEAR[:, None] - NEAR
    assert torch.allclose(losses.kernel_weights(NEAR, NEAR, "rbf", 2.0), torch.exp(-difference.square() / 8))
    assert torch.allclose(losses.kernel_weights(NEAR, NEAR, "cauchy", 2.0), 1 / (difference.square() / 4 + 1))


def test_gaussian_is_a_density():
    ours = losses.kernel_weights(NEAR, NEAR, "gaussian", 0.7)
    np.testing.assert_allclose(ours, norm.pdf(NEAR[:, None] - NEAR, scale=0.7), atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_a_bandwidth_for_each_column_scales_it(name):
    values = torch.stack([NEAR, NEAR.flip(0)], 1)
    scaled = losses.kernel_weights(values / torch.tensor([2.0, 5.0]), values / torch.tensor([2.0, 5.0]), name)
    ours = losses.kernel_weights(values, values, name, (2.0, 5.0))
    torch.testing.assert_close(ours / ours[0, 0], scaled / scaled[0, 0])
    assert torch.equal(ours, ours.T) and (ours >= 0).all()


@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_rules_of_thumb_are_those_of_scipy(rule):
    values = torch.randn(50, 2, dtype=torch.float64) * torch.tensor([3.0, 0.2])
    theirs = gaussian_kde(values.T.numpy(), bw_method=rule).covariance
    ours = losses.rule_of_thumb(torch.cat([values, torch.tensor([[torch.nan, 1.0]])]), rule)
    np.testing.assert_allclose(ours, np.sqrt(np.diag(theirs)))


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match=r"no kernel 'box'.*epanechnikov"):
        losses.kernel_weights(NEAR, NEAR, "box")
    for bandwidth in (0.0, -1.0, float("nan"), (1.0, 2.0)):
        with pytest.raises(ValueError, match="give a positive number, or as many as columns, 1"):
            losses.kernel_weights(NEAR, NEAR, "rbf", bandwidth)
    with pytest.raises(ValueError, match=r"no rule 'scot'.*silverman"):
        losses.rule_of_thumb(NEAR[:, None], "scot")
