"""Features of a source: every image once, in the order of its index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from selfsight.data import ArraySource
from selfsight.nets import build_encoder
from selfsight.probes import Reader, extract_features, pixels
from selfsight.views import original


@pytest.fixture(scope="module")
def source():
    return ArraySource((load_digits().images[:50] * 15).astype(np.uint8))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=8, channels=1).eval()


def images(source):
    return torch.stack([source.read(index) for index in range(len(source))]) / 255


@torch.no_grad()
def test_features_are_the_encoders(source, encoder):
    features, index = Reader(encoder.spec, batch_size=16)({"net": encoder, "pixels": pixels}, source)
    assert index.tolist() == list(range(50))
    torch.testing.assert_close(features["net"], encoder(images(source)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(features["pixels"], images(source).flatten(1), atol=1e-6, rtol=0)


def test_rows_are_sorted_by_index(source):
    from selfsight.data import open_lane

    lane = open_lane(source, 7, shuffle=True, drop_last=False, seed=1)
    features, index = extract_features({"pixels": pixels}, lane, original(8))
    assert index.tolist() == list(range(50))
    torch.testing.assert_close(features["pixels"], images(source).flatten(1), atol=1e-6, rtol=0)


def test_large_images_are_averaged_to_32():
    view = torch.arange(64.0).expand(1, 1, 64, 64)
    small = pixels(view).reshape(32, 32)
    torch.testing.assert_close(small[0], torch.arange(0.5, 64, 2))
    assert pixels(torch.zeros(2, 1, 40, 16, 40)).shape == (2, 32 * 16 * 32)


@pytest.mark.parametrize("name", ["tpu0", "cuda:99"])
def test_missing_devices(encoder, name):
    with pytest.raises(ValueError, match="devices"):
        Reader(encoder.spec, device=name)
