"""Ridge against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import Ridge as Reference
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

from selfsight.probes import Ridge
from selfsight.probes.arrays import Standardiser
from selfsight.probes.ridge import leave_one_out, left_singular


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    scaler = StandardScaler().fit(features[:1000])
    return scaler.transform(features[:1000]), labels[:1000], scaler.transform(features[1000:]), labels[1000:]


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("rows", [1000, 40])
def test_agrees_with_scikit_learn(digits, alpha, rows):
    x, y, queries, truth = digits
    x, y = x[:rows], y[:rows]
    scaler = StandardScaler().fit(x)
    reference = RidgeClassifier(alpha=alpha).fit(scaler.transform(x), y)
    ours = Ridge([alpha]).fit(x, y)
    # RidgeClassifier regresses -1 and 1 where we regress 0 and 1.
    decided = reference.decision_function(scaler.transform(queries))
    np.testing.assert_allclose(2 * ours.decide(queries).numpy() - 1, decided, atol=1e-6)
    assert ours.score(queries, truth) == pytest.approx(reference.score(scaler.transform(queries), truth), abs=1e-6)


@pytest.mark.parametrize("shape", [(60, 10), (20, 30)])
def test_leave_one_out_is_what_leaving_one_out_gives(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    y = torch.randn(shape[0], 2, generator=generator, dtype=torch.float64)
    x = x - x.mean(dim=0)
    predicted = leave_one_out(*left_singular(x), y - y.mean(dim=0), 3.0) + y.mean(dim=0)
    expected = cross_val_predict(Reference(alpha=3.0), x.numpy(), y.numpy(), cv=LeaveOneOut())
    np.testing.assert_allclose(predicted.numpy(), expected, atol=1e-9)


def test_alpha_is_chosen_by_leaving_one_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 50, generator=generator)
    noisy = x[:, 0] + 0.5 * torch.randn(60, generator=generator)
    clean = x @ torch.randn(50, generator=generator)
    assert Ridge().fit(x, noisy).alpha_ > Ridge().fit(x, clean).alpha_


def test_one_label_a_class_takes_the_largest_alpha():
    x = torch.eye(5)
    probe = Ridge([0.1, 10.0]).fit(x, torch.arange(5))
    assert probe.alpha_ == 10 and probe.score(x, torch.arange(5)) == 1


def test_numbers(digits):
    features, targets = load_diabetes(return_X_y=True)
    two = np.stack([targets, -targets], axis=1)
    scaler = StandardScaler().fit(features[:300])
    reference = Reference(alpha=10).fit(scaler.transform(features[:300]), targets[:300])
    expected = reference.score(scaler.transform(features[300:]), targets[300:])
    probe = Ridge([10.0]).fit(features[:300], targets[:300])
    assert probe.classes_ is None and probe.predict(features).shape == targets.shape
    assert probe.score(features[300:], targets[300:]) == pytest.approx(expected, abs=1e-6)
    both = Ridge([10.0]).fit(features[:300], two[:300])
    assert both.predict(features).shape == two.shape
    assert both.score(features[300:], two[300:]) == pytest.approx(expected, abs=1e-6)


def test_constant_features_are_ignored(digits):
    x, y, queries, _ = digits
    constant = np.full((len(x), 1), 1e4)
    with_it = Ridge([1.0]).fit(np.hstack([x, constant]), y)
    without = Ridge([1.0]).fit(x, y)
    moved = np.hstack([queries, constant[: len(queries)] + 5])
    np.testing.assert_allclose(with_it.decide(moved), without.decide(queries), atol=1e-9)
    assert Standardiser.of(torch.full((3, 1), 0.1)).scale.item() == 0


def test_bad_settings():
    with pytest.raises(ValueError, match="alphas above 0"):
        Ridge([0.0]).fit(torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="two classes"):
        Ridge().fit(torch.eye(2), torch.tensor([1, 1]))
