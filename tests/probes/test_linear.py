"""The linear probe against scikit-learn's logistic regression, and its choice of settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from selfsight.probes import Linear
from selfsight.probes.linear import train_heads


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features[:1000], labels[:1000], features[1000:], labels[1000:]


def test_reaches_the_optimum_of_logistic_regression(digits):
    x, y, queries, truth = digits
    scaler = StandardScaler().fit(x)
    # Mean cross-entropy + decay / 2 |w|² is scikit-learn's objective with C = 1 / (N decay).
    reference = LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-8, max_iter=2000).fit(scaler.transform(x), y)
    probe = Linear([0.1], [0.01], epochs=200, batch_size=len(x)).fit(x, y)
    np.testing.assert_allclose(probe.weight_.numpy(), reference.coef_.T, atol=2e-3)
    assert probe.score(queries, truth) == pytest.approx(reference.score(scaler.transform(queries), truth), abs=0.003)


def test_defaults_come_near_logistic_regression(digits):
    x, y, queries, truth = digits
    scaler = StandardScaler().fit(x)
    reference = LogisticRegression(C=1, max_iter=2000).fit(scaler.transform(x), y)
    probe = Linear(seed=1).fit(x, y)
    assert probe.score(queries, truth) > reference.score(scaler.transform(queries), truth) - 0.01


def test_heads_trained_at_once_equal_heads_trained_alone():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 7, generator=generator)
    targets = torch.eye(3)[torch.randint(3, (90,), generator=generator)]
    lrs, decays = torch.tensor([0.01, 0.1, 0.03]), torch.tensor([0.0, 0.1, 1.0])

    def train(chosen):
        return train_heads(x, targets, lrs[chosen], decays[chosen], 5, 32, torch.Generator().manual_seed(1))

    weight, bias = train([0, 1, 2])
    for head in range(3):
        alone, alone_bias = train([head])
        torch.testing.assert_close(weight[:, head], alone[:, 0])
        torch.testing.assert_close(bias[head], alone_bias[0])


def test_written_out_step_equals_autograd_and_adam():
    generator = torch.Generator().manual_seed(0)
    x, targets = torch.randn(20, 4, generator=generator), torch.eye(3)[torch.arange(20) % 3]
    layer = torch.nn.Linear(4, 3)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias]}]
    adam = torch.optim.Adam(groups, lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=6)
    for _ in range(6):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(layer(x), targets).backward()
        adam.step()
        schedule.step()
    ours, bias = train_heads(x, targets, torch.tensor([0.05]), torch.tensor([0.1]), 6, 20, torch.Generator())
    torch.testing.assert_close(ours[:, 0], layer.weight.detach().T)
    torch.testing.assert_close(bias[0], layer.bias.detach())


def test_the_hold_out_chooses(digits):
    x, y, _, _ = digits
    probe = Linear([1e-6, 0.05], [0.0, 1e3], epochs=10).fit(x[:400], y[:400])
    assert (probe.lr_, probe.weight_decay_) == (0.05, 0.0)
    assert probe.holdout_accuracy_ > 0.8


def test_the_seed_decides(digits):
    x, y, _, _ = digits
    first, again, other = (Linear([0.01], epochs=3, seed=seed).fit(x, y) for seed in (0, 0, 1))
    assert torch.equal(first.weight_, again.weight_)
    assert not torch.equal(first.weight_, other.weight_)


def test_classes_keep_their_numbers():
    x = torch.eye(4).repeat(5, 1)
    y = torch.tensor([3, 3, 9, -2]).repeat(5)
    probe = Linear(epochs=20).fit(x, y)
    assert probe.classes_.tolist() == [-2, 3, 9] and probe.score(x, y) == 1


def test_bad_input():
    with pytest.raises(ValueError, match="two classes"):
        Linear().fit(torch.eye(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="hold-out"):
        Linear(holdout=0.0).fit(torch.eye(2), torch.tensor([0, 1]))
