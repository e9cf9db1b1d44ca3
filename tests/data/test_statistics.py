from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight.data import ArraySource, FolderSource, mean_and_std, open_source


def test_mean_and_std_match_numpy():
    images = np.random.default_rng(0).integers(0, 200, (50, 3, 8, 8), dtype=np.uint16)
    mean, std = mean_and_std(ArraySource(images))
    scaled = images.astype(np.float64) / 65535
    np.testing.assert_allclose(mean, scaled.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, scaled.std((0, 2, 3)), rtol=1e-5)


def test_sample_is_seeded():
    source = ArraySource(np.random.default_rng(0).random((100, 1, 4, 4), dtype=np.float32))
    assert mean_and_std(source, 1, images=10) == mean_and_std(source, 1, images=10)
    assert mean_and_std(source, 1, images=10) != mean_and_std(source, 2, images=10)


def test_constant_channels_can_be_divided_by():
    assert mean_and_std(ArraySource(torch.full((4, 8, 8), 51, dtype=torch.uint8))) == ((pytest.approx(0.2),), (1.0,))


def test_unreadable_images_are_passed_over(broken):
    mean, _ = mean_and_std(FolderSource(broken))
    assert all(0 < value < 1 for value in mean)


def test_cifar10(real_data):
    mean, std = mean_and_std(open_source(real_data / "cifar10"))
    np.testing.assert_allclose(mean, [0.4913, 0.4821, 0.4465], atol=0.01)
    np.testing.assert_allclose(std, [0.2452, 0.2428, 0.2606], atol=0.01)
