"""Patches and the masked loss, against loops."""

from __future__ import annotations

import pytest
import torch

from selfsight import losses


@pytest.mark.parametrize(("shape", "grid"), [((2, 3, 8, 12), (2, 3)), ((2, 1, 4, 8, 12), (1, 2, 3))], ids=str)
def test_patches_there_and_back(shape, grid):
    images = torch.randn(shape)
    patches = losses.patchify(images, 4)
    assert patches.shape == (2, 6, 4 ** len(grid) * shape[1])
    assert torch.equal(losses.unpatchify(patches, 4, grid), images)


def test_order_within_a_patch_is_row_column_channel():
    images = torch.randn(1, 3, 4, 6)
    patch = losses.patchify(images, 2)[0, 4]  # second row of patches, second of three
    expected = [images[0, channel, row, column] for row in (2, 3) for column in (2, 3) for channel in range(3)]
    assert patch.tolist() == [value.item() for value in expected]


def test_order_within_a_volume_patch():
    volumes = torch.randn(1, 2, 2, 4, 2)
    patch = losses.patchify(volumes, 2)[0, 1]
    expected = [volumes[0, c, z, y, x] for z in (0, 1) for y in (2, 3) for x in (0, 1) for c in (0, 1)]
    assert patch.tolist() == [value.item() for value in expected]


@pytest.mark.parametrize("normalise", [True, False])
def test_only_masked_patches_count(normalise):
    prediction, target = torch.randn(2, 3, 4, 12, dtype=torch.float64)
    masked = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    total = 0.0
    for image, patch in masked.nonzero().tolist():
        pixels = target[image, patch]
        if normalise:
            pixels = (pixels - pixels.mean()) / (pixels.var() + 1e-6).sqrt()
        total += ((prediction[image, patch] - pixels) ** 2).mean().item()
    assert losses.masked_reconstruction(prediction, target, masked, normalise).item() == pytest.approx(total / 3)


def test_constant_patches_stay_finite():
    target = torch.ones(2, 4, 12)
    value = losses.masked_reconstruction(torch.zeros(2, 4, 12), target, torch.ones(2, 4))
    assert value == 0


def test_errors_name_the_fix():
    with pytest.raises(ValueError, match="no multiple of the patch 4"):
        losses.patchify(torch.zeros(1, 3, 8, 9), 4)
    with pytest.raises(ValueError, match="6 patches do not fill"):
        losses.unpatchify(torch.zeros(1, 6, 48), 4, (2, 2))
