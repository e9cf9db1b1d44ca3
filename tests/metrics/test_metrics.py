"""Each metric against scikit-learn's and torchmetrics', with weights and without."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from selfsight.metrics import Classes, Numbers, PerImage, Tags
from selfsight.metrics.ranking import average_precision, roc_auc

COUNT = 200
ONES = torch.ones(1, COUNT)


@pytest.fixture(params=["once each", "resampled"])
def weights(request):
    if request.param == "once each":
        return ONES
    drawn = np.random.default_rng(3).integers(0, COUNT, (4, COUNT))
    return torch.from_numpy(np.stack([np.bincount(row, minlength=COUNT) for row in drawn])).float()


def answers(classes=7, seed=0, round_to=None):
    """Truth and probabilities that have something to do with it; rounded ones tie."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (COUNT,), generator=generator)
    logits = torch.randn(COUNT, classes, generator=generator) + 1.5 * torch.nn.functional.one_hot(truth, classes)
    scores = logits.double().softmax(dim=1)
    return truth, scores if round_to is None else scores.mul(round_to).round()


def test_classes_are_those_of_scikit_learn(weights):
    truth, scores = answers()
    found = Classes(truth, scores).values(weights)
    predicted = scores.argmax(dim=1)
    for row, weight in enumerate(weights.numpy()):
        expected = {
            "top1": sk.accuracy_score(truth, predicted, sample_weight=weight),
            "balanced": sk.balanced_accuracy_score(truth, predicted, sample_weight=weight),
            "f1": sk.f1_score(truth, predicted, average="macro", sample_weight=weight),
            "top5": sk.top_k_accuracy_score(truth, scores, k=5, sample_weight=weight, labels=range(7)),
            "auc": np.mean([sk.roc_auc_score(truth == c, scores[:, c], sample_weight=weight) for c in range(7)]),
        }
        area = expected.pop("auc")
        assert float(found["auc"][row]) == pytest.approx(area, abs=1e-9 if (weight == 1).all() else 3e-3)
        assert {name: float(found[name][row]) for name in expected} == pytest.approx(expected)
    plain = sk.roc_auc_score(truth, scores, multi_class="ovr")
    assert float(Classes(truth, scores).values(ONES)["auc"][0]) == pytest.approx(plain)


def test_a_class_that_training_lacks_is_wrong_and_has_no_curve():
    truth, scores = answers(classes=3)
    scores[:, 2] = -math.inf
    found = Classes(truth, scores).values(ONES)
    known = scores[:, :2].argmax(dim=1)
    assert float(found["top1"]) == pytest.approx(sk.accuracy_score(truth, known))
    assert float(found["balanced"]) == pytest.approx(sk.balanced_accuracy_score(truth, known))
    expected = np.mean([sk.roc_auc_score(truth == c, scores[:, c]) for c in range(2)])
    assert float(found["auc"]) == pytest.approx(expected)


def test_one_class_alone_has_no_area():
    found = Classes(torch.zeros(COUNT, dtype=torch.int64), answers(classes=3)[1]).values(ONES)
    assert math.isnan(found["auc"]) and not math.isnan(found["top1"])


@pytest.mark.parametrize("round_to", [None, 4])
def test_areas_are_those_of_scikit_learn_with_ties(weights, round_to):
    truth, scores = answers(classes=2, round_to=round_to)
    positive, score = truth == 1, scores[:, 1]
    expected = [sk.average_precision_score(positive, score, sample_weight=weight) for weight in weights.numpy()]
    assert average_precision(score, positive, weights).tolist() == pytest.approx(expected)
    expected = [sk.roc_auc_score(positive, score, sample_weight=weight) for weight in weights.numpy()]
    exact = (weights == 1).all()
    found = roc_auc(score[:, None], positive[:, None], weights).squeeze(1)
    assert found.tolist() == pytest.approx(expected, abs=1e-9 if exact else 1e-2)


def test_the_bootstrap_of_an_area_is_as_wide_as_that_of_the_exact_one():
    truth, scores = answers(classes=2)
    drawn = np.random.default_rng(0).integers(0, COUNT, (400, COUNT))
    weights = torch.from_numpy(np.stack([np.bincount(row, minlength=COUNT) for row in drawn])).float()
    exact = np.std([sk.roc_auc_score(truth[row], scores[row, 1]) for row in drawn])
    assert float(roc_auc(scores[:, 1:], truth[:, None] == 1, weights).std()) == pytest.approx(exact, rel=0.02)


def test_numbers_are_those_of_scikit_learn(weights):
    generator = torch.Generator().manual_seed(0)
    truth = 40 + 10 * torch.randn(COUNT, generator=generator)
    predicted = truth + 5 * torch.randn(COUNT, generator=generator)
    found = Numbers(truth, predicted).values(weights)
    for row, weight in enumerate(weights.numpy().astype(float)):
        covariance = np.cov(truth.double(), predicted.double(), aweights=weight, ddof=0)
        expected = {
            "mae": sk.mean_absolute_error(truth, predicted, sample_weight=weight),
            "rmse": sk.root_mean_squared_error(truth, predicted, sample_weight=weight),
            "r2": sk.r2_score(truth, predicted, sample_weight=weight),
            "r": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
        }
        assert {name: float(values[row]) for name, values in found.items()} == pytest.approx(expected, rel=1e-6)


def test_numbers_that_are_all_the_same_explain_nothing():
    found = Numbers(torch.full((COUNT,), 0.1), torch.rand(COUNT)).values(ONES)
    assert math.isnan(found["r2"]) and math.isnan(found["r"]) and not math.isnan(found["mae"])
    found = Numbers(torch.rand(COUNT), torch.full((COUNT,), 0.1)).values(ONES)
    assert not math.isnan(found["r2"]) and math.isnan(found["r"])


def test_tags_are_those_of_scikit_learn_over_what_is_known(weights):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(-1, 2, (COUNT, 3), generator=generator)
    scores = torch.rand(COUNT, 3, generator=generator) + 0.5 * truth
    found = Tags(truth, scores).values(weights)
    for row, weight in enumerate(weights.numpy()):
        for name, reference in (("map", sk.average_precision_score), ("auc", sk.roc_auc_score)):
            each = []
            for tag in range(3):
                known = (truth[:, tag] >= 0).numpy()
                each.append(reference(truth[known, tag], scores[known, tag], sample_weight=weight[known]))
            exact = name == "map" or (weight == 1).all()
            assert float(found[name][row]) == pytest.approx(np.mean(each), abs=1e-9 if exact else 5e-3)


def test_a_tag_that_no_image_has_is_left_out():
    truth = torch.zeros(COUNT, 2, dtype=torch.int64)
    truth[: COUNT // 2, 0] = 1
    scores = torch.rand(COUNT, 2)
    assert float(Tags(truth, scores).values(ONES)["map"]) == pytest.approx(
        sk.average_precision_score(truth[:, 0], scores[:, 0])
    )
    assert math.isnan(Tags(torch.zeros_like(truth), scores).values(ONES)["map"])


def test_means_over_images_are_weighted(weights):
    hits = torch.rand(COUNT)
    outcome = PerImage(recall=hits)
    expected = [np.average(hits, weights=weight) for weight in weights.numpy()]
    assert outcome.main == "recall" and len(outcome) == COUNT
    assert outcome.values(weights)["recall"].tolist() == pytest.approx(expected)
