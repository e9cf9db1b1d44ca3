"""Local standard deviation against NumPy over each window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from selfsight import targets


def test_local_std_is_its_formula():
    images = 50 + torch.rand(2, 3, 7, 9)
    padded = np.pad(images.double().numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = np.sqrt(sliding_window_view(padded, (3, 3), axis=(2, 3)).var((-2, -1)) + 1e-8)
    torch.testing.assert_close(targets.local_std(images).double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_flat_images_and_half_precision_stay_finite():
    flat = targets.local_std(torch.full((1, 3, 8, 8), 0.3))
    torch.testing.assert_close(flat, torch.full_like(flat, 1e-4))
    images = (torch.rand(2, 1, 8, 8) * 100).bfloat16()
    assert torch.equal(targets.local_std(images), targets.local_std(images.float()))
