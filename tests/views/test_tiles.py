"""Views cut into tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from selfsight.data.canvas import full_canvas
from selfsight.engine.train import largest_view
from selfsight.gallery import draw_views
from selfsight.views import Augmentation, Tiles, View, ViewSet, chunks, jigsaw, original, patches, two_views

EVERY = Augmentation(rotate=15, shift=0.1, solarize=0.3, noise=0.5, cutout=0.5)


def draw(view_set, canvases, seed=0):
    return view_set(canvases, torch.Generator().manual_seed(seed))


def whole_image(size, tiles):
    (view,) = original(size, raw=True).views
    return ViewSet((replace(view, tiles=tiles),))


@pytest.fixture
def canvas():
    pixels = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return full_canvas(pixels)


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_are_windows_of_the_view(dims):
    canvas = full_canvas(torch.randint(0, 256, (3, 2, *(16,) * dims), dtype=torch.uint8))
    (view,) = draw(original(16), [canvas]).views
    tiles = Tiles((6,) * dims, (5, 4, 3)[:dims], (3, 2, 3)[:dims])
    batch = draw(whole_image(16, tiles), [canvas])
    assert len(batch.views) == tiles.count
    starts = torch.cartesian_prod(*(torch.arange(n) * s for n, s in zip(tiles.grid, tiles.stride, strict=True)))
    for tile, corner in zip(batch.views, starts.tolist(), strict=True):
        window = (..., *(slice(start, start + 6) for start in corner))
        assert torch.equal(tile, view[window]) and tile.is_contiguous()


def test_offsets_are_whole_and_cover_their_range_each_tile_by_itself():
    tiles = Tiles(4, 10, (2, 3), jitter=3)
    corners = tiles.sample(500, torch.Generator().manual_seed(0))
    offsets = corners - Tiles(4, 10, (2, 3)).sample(500, torch.Generator())
    assert offsets.unique().tolist() == [0, 1, 2, 3]
    assert tiles.span == (17, 27) and (corners + 4 <= torch.tensor(tiles.span)).all()
    varied = offsets.flatten(1).float().T.corrcoef() - torch.eye(12)
    assert varied.abs().max() < 0.2


def test_each_image_has_an_order_of_its_own():
    corners = Tiles(2, 2, (2, 2), shuffle=True).sample(600, torch.Generator().manual_seed(0))
    place = (corners[..., 0] + corners[..., 1] // 2).tolist()
    orders = {tuple(row) for row in place}
    assert len(orders) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERY], ids=["simclr", "every"])
def test_the_draw_follows_the_generator_and_not_the_chunks(canvas, augmentation, monkeypatch):
    views = (jigsaw(36, augmentation) + two_views(24, augmentation)).normalised((0.5,) * 3, (0.2,) * 3)
    together = draw(views, [canvas]).views
    assert all(a.equal(b) for a, b in zip(together, draw(views, [canvas]).views, strict=True))
    assert not together[0].equal(draw(views, [canvas], seed=1).views[0])
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 3 * 4 * 3 * 36 * 36)
    parts = [next(canvas.map(lambda t, s=s: t[s]).chunks(11)) for s in (slice(0, 4), slice(4, 11))]
    for whole, chunked in zip(together, draw(views, parts).views, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-5)


def test_colours_are_drawn_for_each_tile():
    grey = full_canvas(torch.full((4, 3, 32, 32), 100, dtype=torch.uint8))
    jitter = Augmentation(jitter=(0.8, 0, 0, 0), jitter_p=1, grayscale=0, blur=0)
    levels = torch.stack([tile.mean((1, 2, 3)) for tile in draw(patches(32, jitter, tile=8, stride=8), [grey]).views])
    assert len(levels.flatten().unique()) == 16 * 4


def test_sizes_are_those_of_the_tiles_and_origins_say_which_view_they_come_from(canvas, tmp_path):
    views = (jigsaw(36) + original(24)).normalised((0.5,) * 3, (0.2,) * 3)
    batch = draw(views, [canvas])
    assert views.sizes == [*[8] * 9, 24] and [view.shape[2] for view in batch.views] == views.sizes
    assert [view.size for view in views.origins] == [(36, 36)] * 9 + [24]
    draw_views(batch, views, tmp_path / "views.png")
    assert (tmp_path / "views.png").exists()


def test_tiles_turn_too(canvas):
    (view,) = whole_image(32, Tiles(8, 8, (4, 4))).views
    batch = draw(ViewSet((replace(view, turns=(0, 1)),)), [canvas])
    assert len(batch.views) == 32
    assert torch.equal(batch.views[5], torch.rot90(batch.views[4], 1, (-2, -1)))


def test_the_papers_sizes():
    (puzzle,) = jigsaw(255).views
    assert puzzle.tiles == Tiles(64, 85, (3, 3), jitter=21, shuffle=True) and puzzle.size == (255, 255)
    (grid,) = patches(260, tile=80, stride=36).views
    assert grid.tiles is not None and grid.tiles.grid == (6, 6) and grid.size == (260, 260)
    (volume,) = jigsaw(32, dims=3).views
    assert volume.count == 27


def test_what_cannot_be_cut_is_named(canvas):
    (view,) = original(16).views
    with pytest.raises(ValueError, match=r"reach over \(20, 20\).*\(16, 16\)"):
        View(view.size, view.geometry, tiles=Tiles(4, 8, (3, 3)))
    with pytest.raises(ValueError, match="stride"):
        Tiles(4, 0, (3, 3))
    with pytest.raises(ValueError, match="2 axes"):
        draw(jigsaw(24, dims=3), [canvas])
    with pytest.raises(ValueError, match="do not fit 16"):
        patches(16, tile=20, stride=4)


def test_images_are_decoded_for_the_view_and_not_for_its_tiles():
    assert largest_view(jigsaw(255) + original(224)) == 255
