"""KNN against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from selfsight.probes import KNN, knn


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    features = features - features.mean(axis=0)
    return features[:1000], labels[:1000], features[1000:], labels[1000:]


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("k, temperature", [(1, 0.07), (20, 0.07), (50, 1.0)])
def test_agrees_with_scikit_learn(digits, k, temperature):
    x, y, queries, truth = digits
    # On the unit sphere, the cosine is 1 - distance² / 2.
    reference = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d**2 / 2) / temperature), algorithm="brute")
    reference.fit(unit(x), y)
    ours = KNN(k, temperature).fit(x, y)
    assert (ours.predict(queries).numpy() == reference.predict(unit(queries))).mean() > 0.998
    assert ours.score(queries, truth) == pytest.approx(reference.score(unit(queries), truth), abs=0.002)


def test_chunks_change_nothing(digits, monkeypatch):
    x, y, queries, _ = digits
    whole = KNN().fit(x, y).votes(queries)
    monkeypatch.setattr(knn, "SIMILARITIES_AT_ONCE", 64 * len(x))
    torch.testing.assert_close(KNN().fit(x, y).votes(queries), whole)


def test_k_is_clipped_to_the_bank():
    probe = KNN(k=20).fit(torch.eye(3), torch.tensor([4, 7, 7]))
    assert probe.k_ == 3 and probe.k == 20
    assert probe.predict(torch.eye(3)).tolist() == [4, 7, 7]


def test_small_temperature_stays_finite():
    probe = KNN(k=2, temperature=0.001).fit(torch.eye(2), torch.tensor([0, 1]))
    assert probe.votes(torch.eye(2)).isfinite().all()
    assert probe.score(torch.eye(2), torch.tensor([0, 1])) == 1


def test_neighbours_of_less_weight_outvote_by_number():
    bank = torch.tensor([[1.0, 0.0], [0.98, 0.2], [0.98, 0.2], [0.98, 0.2]])
    probe = KNN(k=4, temperature=0.1).fit(bank, torch.tensor([0, 1, 1, 1]))
    assert probe.predict(torch.tensor([[1.0, 0.0]])).item() == 1


@pytest.mark.parametrize(
    "features, labels, message",
    [
        (torch.eye(3), torch.zeros(3, dtype=torch.long), "two classes"),
        (torch.eye(3), torch.tensor([0, 1]), "3 rows of features and 2 labels"),
        (torch.zeros(3, 2, 2), torch.tensor([0, 1, 1]), "pool or flatten"),
        (torch.full((3, 2), torch.nan), torch.tensor([0, 1, 1]), "NaN"),
    ],
)
def test_bad_input(features, labels, message):
    with pytest.raises(ValueError, match=message):
        KNN().fit(features, labels)


def test_bad_settings():
    with pytest.raises(ValueError, match="k >= 1"):
        KNN(k=0).fit(torch.eye(2), torch.tensor([0, 1]))


def test_read_only_arrays_are_taken_without_a_warning():
    features, labels = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    features.flags.writeable = labels.flags.writeable = False
    assert KNN(k=1).fit(features, labels).score(features, labels) == 1.0
