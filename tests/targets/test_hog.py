"""Histograms of oriented gradients against a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from selfsight import targets


def hog_formula(image, bins, cell):
    """Of one channel, pixel by pixel, in float64."""
    rows, columns = image.shape[0] // cell, image.shape[1] // cell
    padded = np.pad(image, 1)
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    histogram = np.zeros((bins, rows, columns))
    for row in range(rows * cell):
        for column in range(columns * cell):
            around = padded[row : row + 3, column : column + 3]
            across, down = (around * kernel).sum(), (around * kernel.T).sum()
            position = (np.arctan2(down, across) % np.pi) / np.pi * bins
            share = position % 1
            magnitude = np.hypot(across, down)
            cell_of = row // cell, column // cell
            histogram[(int(position) % bins, *cell_of)] += magnitude * (1 - share)
            histogram[((int(position) + 1) % bins, *cell_of)] += magnitude * share
    return histogram / cell**2


@pytest.mark.parametrize(("size", "bins", "cell"), [((16, 24), 24, 8), ((11, 9), 9, 4)], ids=str)
def test_hog_is_its_formula(size, bins, cell):
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = [[hog_formula(channel.numpy(), bins, cell) for channel in image] for image in images]
    torch.testing.assert_close(targets.hog(images, bins, cell), torch.from_numpy(np.array(expected)))


@pytest.mark.parametrize("degrees", [0, 30, 90, 100, 176])
def test_a_ramp_votes_for_its_direction(degrees):
    row, column = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    angle = math.radians(degrees)
    ramp = row * math.sin(angle) + column * math.cos(angle)
    histogram = targets.hog(ramp[None, None])[0, 0, :, 1, 1]
    position = degrees / 180 * 24
    expected = torch.zeros(24)
    expected[int(position)] = 8 * (1 - position % 1)  # a Sobel kernel answers 8 to a unit slope
    expected[(int(position) + 1) % 24] = 8 * (position % 1)
    torch.testing.assert_close(histogram, expected, atol=1e-3, rtol=0)


def test_a_flat_image_votes_for_nothing():
    votes = targets.hog(torch.full((1, 3, 24, 24), 0.7))
    assert votes[..., 1, 1].abs().max() < 1e-6, "inside; the zeros beyond its border are an edge"
    assert not targets.hog(torch.zeros(1, 3, 16, 16)).any()


def test_half_precision_images_are_described_in_single():
    images = torch.randn(2, 3, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        histogram = targets.hog(images)
    assert histogram.shape == (2, 3, 24, 2, 2) and torch.equal(histogram, targets.hog(images.float()))


def test_an_image_smaller_than_a_cell_is_refused():
    with pytest.raises(ValueError, match="lower cell"):
        targets.hog(torch.zeros(1, 1, 7, 16))
