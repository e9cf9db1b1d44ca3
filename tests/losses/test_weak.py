"""Losses with a margin, with positives by degree and without bias: their formulas in loops, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from selfsight import losses
from selfsight.losses import blocks

T, EPSILON = 0.2, 0.4
LABELS = torch.tensor([0, 1, 0, -1, 2, 1])
VALUES = torch.tensor([20.0, 23.0, torch.nan, 31.0, 21.0, 20.0], dtype=torch.float64)
EVERY = [losses.y_aware, losses.regression_thr, losses.regression_exp]


def views(count=2, batch=6, width=5):
    return list(torch.randn(count, batch, width, dtype=torch.float64).requires_grad_())


def agree(ours, theirs, leaves):
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other)


def similarities(z, temperature=T):
    """All views, one after the other, of unit length, with each other; and the image of each."""
    flat = torch.cat([view.detach() for view in z]).numpy()
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return flat @ flat.T / temperature, np.tile(np.arange(len(z[0])), len(z))


def classes_of(image, labels=LABELS):
    labels = labels.numpy()[image]
    return np.where(labels < 0, -1 - image, labels)


def by_class(z, competing):
    """Mean over anchors of the mean over positives of -log of a share; `competing` answers its denominator."""
    s, image = similarities(z)
    classes, total = classes_of(image), 0.0
    for i in range(len(s)):
        others = np.arange(len(s)) != i
        positives, negatives = others & (classes == classes[i]), others & (classes != classes[i])
        terms = [-np.log(np.exp(s[i, k]) / competing(s[i], k, positives, negatives)) for k in np.flatnonzero(positives)]
        total += np.mean(terms) if terms else 0.0
    return total / len(s)


def test_eps_infonce_is_its_formula():
    z = views()
    s, image = similarities(z)
    total = 0.0
    for i in range(len(s)):
        (k,) = (j for j in range(len(s)) if j != i and image[j] == image[i])
        negatives = sum(np.exp(s[i, j]) for j in range(len(s)) if j not in (i, k))
        total -= np.log(np.exp(s[i, k]) / (np.exp(s[i, k] - EPSILON) + negatives))
    assert losses.eps_infonce(*z, T, EPSILON).item() == pytest.approx(total / len(s))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_eps_supcon_is_its_formula(count):
    z = views(count)

    def competing(s, k, positives, negatives):
        return np.exp(s[positives] - EPSILON).sum() + np.exp(s[negatives]).sum()

    assert losses.eps_supcon(z, LABELS, T, EPSILON).item() == pytest.approx(by_class(z, competing))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_eps_supinfonce_is_its_formula(count):
    z = views(count)

    def competing(s, k, positives, negatives):
        return np.exp(s[k] - EPSILON) + np.exp(s[negatives]).sum()

    assert losses.eps_supinfonce(z, LABELS, T, EPSILON).item() == pytest.approx(by_class(z, competing))


def test_without_a_margin_they_are_infonce_and_supcon():
    z = views()
    agree(losses.eps_infonce(*z, T, 0.0), losses.nt_xent(*z, T), z)
    agree(losses.eps_supcon(z, LABELS, T, 0.0), losses.supcon(z, LABELS, T), z)


@pytest.mark.parametrize("epsilon", [0.0, EPSILON])
def test_with_one_positive_all_three_are_one(epsilon):
    z = views()
    alone = torch.full((6,), -1)
    for loss in (losses.eps_supcon, losses.eps_supinfonce):
        agree(loss(z, alone, T, epsilon), losses.eps_infonce(*z, T, epsilon), z)


@pytest.mark.parametrize("epsilon", [60.0, math.inf])
def test_a_large_margin_is_decoupled_contrast(epsilon):
    z = views()
    s, image = similarities(z)
    total = 0.0
    for i in range(len(s)):
        own = image == image[i]
        positive = s[i][own & (np.arange(len(s)) != i)].item()
        total += -positive + np.log(np.exp(s[i][~own]).sum())
    ours = losses.eps_infonce(*z, T, epsilon)
    assert ours.item() == pytest.approx(total / len(s))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(ours, z))


def test_values_of_equal_embeddings_with_a_margin():
    same = torch.ones(2, 6, 4)
    omega = math.exp(-EPSILON)
    assert losses.eps_infonce(*same, T, EPSILON).item() == pytest.approx(math.log(10 + omega), abs=1e-5)
    positives = np.array([3, 3, 3, 1, 1, 3])
    expected = np.log(11 - positives + omega * positives).mean()
    assert losses.eps_supcon(same, LABELS, T, EPSILON).item() == pytest.approx(expected, abs=1e-5)
    expected = np.log(11 - positives + omega).mean()
    assert losses.eps_supinfonce(same, LABELS, T, EPSILON).item() == pytest.approx(expected, abs=1e-5)


def test_a_batch_of_one_class_has_no_negatives_and_finite_gradients():
    z = views()
    for loss in (losses.eps_supcon, losses.eps_supinfonce):
        value = loss(z, torch.zeros(6, dtype=torch.int64), T, EPSILON)
        assert value.isfinite() and all(g.isfinite().all() for g in torch.autograd.grad(value, z))


def weights_of(image, bandwidth=3.0):
    """rbf weights between all views; an image without a value knows its own views only."""
    values = VALUES.numpy()[image]
    known = ~np.isnan(values)
    weights = np.exp(-((values[:, None] - values) ** 2) / (2 * bandwidth**2))
    return np.where(known[:, None] & known, weights, image[:, None] == image)


def by_weight(z, share):
    """Mean over anchors of the mean, by weight, of -log of a share; `share` answers its denominator, None for none."""
    s, image = similarities(z)
    weights, total = weights_of(image), 0.0
    for i in range(len(s)):
        others = [j for j in range(len(s)) if j != i]
        summed = 0.0
        for k in others:
            denominator = share(s[i], weights[i], k, others)
            if denominator is not None:
                summed -= weights[i, k] * np.log(np.exp(s[i, k]) / denominator)
        total += summed / weights[i, others].sum()
    return total / len(s)


def everyone(s, w, k, others):
    return np.exp(s[others]).sum()


def lighter(s, w, k, others):
    below = [t for t in others if w[t] < w[k]]
    return np.exp(s[below]).sum() if below else None


def repelled(s, w, k, others):
    rest = [t for t in others if t != k]
    return np.exp(s[rest] * (1 - w[rest])).sum()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("loss", "share"), [*zip(EVERY, [everyone, lighter, repelled], strict=True)])
def test_losses_by_value_are_their_formulas(loss, share, count):
    z = views(count)
    assert loss(z, VALUES, T, "rbf", 3.0).item() == pytest.approx(by_weight(z, share))


def test_thr_of_three_images_compares_the_nearer_value_with_the_farther():
    z = views(1, batch=3)
    s, values = similarities(z)[0], np.array([20.0, 24.0, 33.0])
    weights = np.exp(-((values[:, None] - values) ** 2) / (2 * 5.0**2))
    total = 0.0
    for i, near, far in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
        total += weights[i, near] * (s[i, far] - s[i, near]) / (weights[i, near] + weights[i, far])
    assert losses.regression_thr(z, torch.tensor(values), T, "rbf", 5.0).item() == pytest.approx(total / 3)


def test_several_columns_weigh_together():
    z = views()
    two = torch.stack([VALUES, VALUES.flip(0)], 1)
    one = torch.cat([VALUES[:, None] / 3, VALUES.flip(0)[:, None] / 5], 1)
    for loss in EVERY:
        torch.testing.assert_close(loss(z, two, T, "rbf", (3.0, 5.0)), loss(z, one, T, "rbf", 1.0))


def test_y_aware_with_weights_of_zero_and_one_is_supcon():
    z = views()
    values = torch.where(LABELS < 0, torch.nan, LABELS.double())
    for kernel in ("epanechnikov", "linear"):
        agree(losses.y_aware(z, values, T, kernel, 0.5), losses.supcon(z, LABELS, T), z)


def test_without_values_they_are_infonce():
    z = views()
    unknown = torch.full((6,), torch.nan)
    agree(losses.y_aware(z, unknown, T), losses.nt_xent(*z, T), z)
    agree(losses.regression_thr(z, unknown, T), losses.eps_infonce(*z, T, math.inf), z)
    agree(losses.regression_exp(z, unknown, T), losses.eps_infonce(*z, T, math.inf), z)


def test_thr_of_equal_values_is_zero_and_of_equal_embeddings_counts():
    z = views()
    assert losses.regression_thr(z, torch.full((6,), 7.0), T).item() == 0
    same = torch.ones(2, 3, 4, dtype=torch.float64)
    far = torch.tensor([0.0, 1e3, 2e3])
    assert losses.regression_thr(same, far, T).item() == pytest.approx(math.log(4))
    assert losses.regression_exp(same, far, T).item() == pytest.approx(math.log(4))
    assert losses.y_aware(same, far, T).item() == pytest.approx(math.log(5))


def test_exp_survives_a_term_that_outweighs_all_others():
    """In float32 the rest of a sum is not the sum less its largest term."""
    z = [torch.tensor([[1.0, 0.0], [1.0, 1e-3], [-1.0, 0.1]]), torch.tensor([[-1.0, 0.2], [-1.0, 0.3], [-1.0, 0.0]])]
    values = torch.tensor([0.0, 3.0, 5.0])
    exact = losses.regression_exp([view.double() for view in z], values, 0.02, "rbf", 2.0)
    assert losses.regression_exp(z, values, 0.02, "rbf", 2.0).item() == pytest.approx(exact.item(), rel=1e-5)
    leaves = [view.requires_grad_() for view in z]
    gradients = torch.autograd.grad(losses.regression_exp(leaves, values, 0.005, "rbf", 2.0), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)


def fair_kl_formula(z, labels, bias, form):
    """Both comparisons from pairs that are picked one by one, the divergence by torch's own."""
    s, image = similarities(z, 1.0)
    kinds = {(alike, aligned): [] for alike in (True, False) for aligned in (True, False)}
    for i in range(len(s)):
        for j in range(i):
            a, b = image[i], image[j]
            if a != b and min(labels[a], labels[b], bias[a], bias[b]) >= 0:
                kinds[bool(labels[a] == labels[b]), bool(bias[a] == bias[b])].append(1 - s[i, j])
    total = 0.0
    for alike in (True, False):
        aligned, conflicting = kinds[alike, True], kinds[alike, False]
        if min(len(aligned), len(conflicting)) >= 2:
            if form == "moments":
                total += (np.mean(aligned) - np.mean(conflicting)) ** 2 + (np.std(aligned) - np.std(conflicting)) ** 2
                continue
            distances = [torch.tensor(np.array(x)) for x in (aligned, conflicting)]
            first, second = (Normal(d.mean(), d.std(correction=0)) for d in distances)
            total += kl_divergence(first, second).item()
    return total


@pytest.mark.parametrize("form", ["kl", "moments"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("labels", "bias"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1, 0, -1], [0, 1, 0, 1, 0, 1, 0, 1, -1, 0]),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 2, 1, 0, 1, 2, 0]),  # no pairs of two classes
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 0], [0, 1, 0, 1, 2, 1, 0, 1, 2, 0]),  # one pair of one class
        ([0, 0, 1, 1, 0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),  # nothing conflicts
        ([-1] * 10, [0, 1] * 5),
    ],
)
def test_fair_kl_is_its_definition(form, count, labels, bias):
    z = views(count, batch=10)
    ours = losses.fair_kl(z, torch.tensor(labels), torch.tensor(bias), form)
    assert ours.item() == pytest.approx(fair_kl_formula(z, labels, bias, form), abs=1e-9)


@pytest.mark.parametrize("form", ["kl", "moments"])
def test_fair_kl_sees_a_bias_and_gradients_remove_it(form):
    labels, bias = torch.arange(24) % 2, torch.arange(24) // 2 % 2
    fair = torch.randn(24, 6, dtype=torch.float64)
    biased = (fair + 3 * torch.nn.functional.one_hot(bias, 6)).requires_grad_()
    before = losses.fair_kl([biased], labels, bias, form)
    assert before > 10 * losses.fair_kl([fair], labels, bias, form)
    optimiser = torch.optim.Adam([biased], lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        losses.fair_kl([biased], labels, bias, form).backward()
        optimiser.step()
    assert losses.fair_kl([biased], labels, bias, form) < before / 5


@pytest.mark.parametrize("form", ["kl", "moments"])
def test_fair_kl_of_equal_embeddings_is_zero(form):
    z = torch.ones(1, 8, 4, requires_grad=True)
    value = losses.fair_kl(z, torch.arange(8) % 2, torch.arange(8) // 4, form)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(value, z)[0].isfinite().all()


def test_fair_kl_has_two_forms():
    with pytest.raises(ValueError, match="form is 'mmd': use 'kl' or 'moments'"):
        losses.fair_kl(views(1), torch.zeros(4), torch.zeros(4), "mmd")  # type: ignore[arg-type]


@pytest.mark.parametrize("largest", [1, 30])
def test_blocks_change_nothing(monkeypatch, largest):
    z = views(2, batch=6)
    labels, bias = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 0, 1, 0, 1])

    def all_of_them():
        by_class = losses.eps_supcon(z, LABELS) + losses.eps_supinfonce(z, LABELS) + losses.eps_infonce(*z)
        return by_class + sum(loss(z, VALUES, T, "rbf", 3.0) for loss in EVERY) + losses.fair_kl(z, labels, bias)

    whole = all_of_them()
    gradients = torch.autograd.grad(whole, z)
    monkeypatch.setitem(blocks.LARGEST_BLOCK, "cpu", largest)
    blocked = all_of_them()
    torch.testing.assert_close(blocked, whole)
    for ours, theirs in zip(torch.autograd.grad(blocked, z), gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
