"""Intersection over union against torchmetrics and scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from selfsight.metrics import Pixels
from selfsight.metrics.pixels import count_pixels

CLASSES = 4


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(-1, CLASSES, (5, 7, 9), generator=generator)
    wrong = torch.rand(truth.shape, generator=generator) < 0.4
    predicted = torch.where(wrong, torch.randint(0, CLASSES, truth.shape, generator=generator), truth.clamp_min(0))
    return predicted, truth


def outcome(predicted, truth):
    counts = [count_pixels(one, other, CLASSES) for one, other in zip(predicted, truth, strict=True)]
    return Pixels(*map(torch.stack, zip(*counts, strict=True)), names=list("abcd"))


def test_against_others(images):
    predicted, truth = images
    found = {name: float(value) for name, value in outcome(predicted, truth).values(torch.ones(1, 5)).items()}
    known = truth >= 0
    torchmetrics = MulticlassJaccardIndex(CLASSES, ignore_index=255, average="none")
    each = torchmetrics(predicted, torch.where(known, truth, 255))
    assert found["miou"] == pytest.approx(float(each.mean()))
    assert [found[f"iou {name}"] for name in "abcd"] == pytest.approx(each.tolist())
    y, x = truth[known].numpy(), predicted[known].numpy()
    assert found["miou"] == pytest.approx(jaccard_score(y, x, average="macro"))
    assert found["mean_accuracy"] == pytest.approx(balanced_accuracy_score(y, x))
    assert found["pixel_accuracy"] == pytest.approx((x == y).mean())


def test_weights_repeat_images(images):
    predicted, truth = images
    weights = torch.tensor([[2.0, 0, 1, 0, 2]])
    again = [0, 0, 2, 4, 4]
    one, other = (
        outcome(predicted, truth).values(weights),
        outcome(predicted[again], truth[again]).values(torch.ones(1, 5)),
    )
    assert {name: float(value) for name, value in one.items()} == pytest.approx({n: float(v) for n, v in other.items()})


def test_a_class_that_no_test_image_shows_does_not_count():
    truth, predicted = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 2, 1, 1]]])
    found = outcome(predicted, truth).values(torch.ones(1, 1))
    assert float(found["miou"]) == pytest.approx((1 / 2 + 1) / 2) and "iou c" not in found
