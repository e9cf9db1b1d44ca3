from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from selfsight.data import Canvas, full_canvas, pad_together
from selfsight.data.canvas import FULL_ENOUGH, group_shapes, share_canvases


def test_full_canvas_knows_that_it_is():
    canvas = full_canvas(torch.zeros(4, 3, 5, 6))
    assert canvas.uniform
    assert canvas.extent.tolist() == [[5, 6]] * 4
    assert canvas.to("cpu").uniform
    assert all(part.uniform for part in canvas.chunks(3))


def test_padded_canvas_is_not_uniform():
    pixels, extent = pad_together([torch.ones(1, 2, 3), torch.ones(1, 4, 2)])
    canvas = Canvas(pixels, extent, torch.arange(2))
    assert canvas.spatial == (4, 3)
    assert not canvas.uniform
    assert pixels.sum(dim=(1, 2, 3)).tolist() == [6, 8]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_groups_are_full_and_complete(dimensions):
    shapes = np.random.default_rng(0).integers(20, 200, (300, dimensions))
    groups = group_shapes(shapes)
    assert sorted(chain(*groups)) == list(range(300))
    for group in groups:
        fill = shapes[group].prod(1).sum() / (shapes[group].max(0).prod() * len(group))
        assert fill >= FULL_ENOUGH
    assert len(groups) < 120


def test_a_panorama_pads_nobody_else():
    shapes = [(64, 64)] * 30 + [(64, 640)] + [(60, 66)] * 30
    assert group_shapes(shapes) == [[*range(30), *range(31, 61)], [30]]


def test_share_canvases_keeps_every_pixel():
    images = [torch.rand(2, 10 + i % 5, 12 + i % 3) for i in range(15)]
    seen = set()
    for pixels, extent, group in share_canvases(images):
        sizes = [list(images[i].shape[1:]) for i in group]
        assert extent is None or extent.tolist() == sizes
        for row, i in zip(pixels, group, strict=True):
            height, width = images[i].shape[1:]
            assert torch.equal(row[:, :height, :width], images[i])
            seen.add(i)
    assert seen == set(range(15))
