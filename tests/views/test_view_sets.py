from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as reference

from selfsight.data.canvas import Canvas, full_canvas, pad_together
from selfsight.views import (
    Augmentation,
    Geometry,
    RandomPatches,
    View,
    ViewSet,
    chunks,
    jigsaw,
    multi_crop,
    original,
    patches,
    random_view,
    rotations,
    two_views,
)
from selfsight.views.chunks import Chunk, unit_range
from selfsight.views.geometry import CentreCrop, Flip, RandomResizedCrop
from selfsight.views.resample import read_box

EVERY = Augmentation(rotate=15, shift=0.1, solarize=0.3, noise=0.5, cutout=0.5)
PLAIN = Augmentation(flip=0, jitter_p=0, grayscale=0, blur=0)


def draw(view_set, canvases, seed=0):
    return view_set(canvases, torch.Generator().manual_seed(seed))


@pytest.fixture
def canvas():
    pixels = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return full_canvas(pixels, torch.arange(5, 16), {"label": torch.arange(11) % 3})


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERY], ids=["simclr", "every"])
def test_the_draw_follows_the_generator_and_not_the_chunks(canvas, augmentation, monkeypatch):
    views = two_views(24, augmentation).normalised((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    together = draw(views, [canvas]).views
    assert all(a.equal(b) for a, b in zip(together, draw(views, [canvas]).views, strict=True))
    assert not together[0].allclose(together[1]) and not together[0].equal(draw(views, [canvas], seed=1).views[0])
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 3 * 4 * 3 * 32 * 32)
    for whole, chunked in zip(together, draw(views, [canvas]).views, strict=True):
        torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-5)
    parts = [next(canvas.map(lambda t, s=s: t[s]).chunks(11)) for s in (slice(0, 4), slice(4, 11))]
    split = draw(views, parts)
    for whole, several in zip(together, split.views, strict=True):
        torch.testing.assert_close(several, whole, rtol=0, atol=1e-5)
    assert split.index.equal(canvas.index) and split.metadata["label"].equal(canvas.metadata["label"])


def test_sizes_and_order_of_crops(canvas):
    views = multi_crop(32, replace(Augmentation(), crops=(2, 4)))
    assert views.sizes == [32, 32, 12, 12, 12, 12]
    assert [tuple(view.shape) for view in draw(views, [canvas]).views] == [(11, 3, s, s) for s in views.sizes]
    assert multi_crop(224, Augmentation(crops=(2, 6))).sizes == [224] * 2 + [96] * 6
    assert multi_crop(64, Augmentation(crops=(2, 1), local_size=20)).sizes[-1] == 20
    scales = [view.geometry.crop.scale for view in views.views]
    assert scales == [(0.14, 1.0)] * 2 + [(0.05, 0.14)] * 4


def test_probabilities_of_each_view():
    first, second = two_views(32, replace(PLAIN, solarize=(0.0, 0.2), blur=(1.0, 0.1))).views
    assert [type(colour).__name__ for colour in first.colour] == ["GaussianBlur"]
    assert [(type(colour).__name__, colour.p) for colour in second.colour] == [("GaussianBlur", 0.1), ("Solarize", 0.2)]


@pytest.mark.parametrize(("flip", "mirrored"), [(0, [False, False]), (1, [True, True]), ((0, 1), [False, True])])
def test_random_views_are_mirrored_as_asked_and_normalised(canvas, flip, mirrored):
    whole = replace(PLAIN, flip=flip, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    expected = reference.normalize(canvas.pixels / 255, list(mean), list(std))
    for view, turned in zip(draw(two_views(32, whole).normalised(mean, std), [canvas]).views, mirrored, strict=True):
        torch.testing.assert_close(view, expected.flip(-1) if turned else expected, rtol=0, atol=5e-5)


def test_the_original_equals_resize_and_centre_crop():
    pixels = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    (view,) = draw(original(24), [full_canvas(pixels)]).views
    expected = reference.center_crop(reference.resize(pixels.float() / 255, [24, 32], antialias=True), [24, 24])
    torch.testing.assert_close(view, expected, rtol=0, atol=5e-6)
    square = full_canvas(pixels[..., :48])
    expected = reference.resize(square.pixels.float() / 255, [32, 32], antialias=True)
    torch.testing.assert_close(draw(original(32), [square]).views[0], expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("size", "sides"), [(32, (32, 32)), (28, (28, 28)), ((12, 20), (12, 20)), (8, (8, 8, 8))])
def test_an_image_of_the_views_size_is_read_as_it_is_and_as_resampling_reads_it(size, sides):
    pixels = torch.randint(0, 256, (5, 3, *sides), dtype=torch.uint8)
    canvas = full_canvas(pixels)
    (fast,) = draw(original(size), [canvas]).views
    assert fast.equal(unit_range(canvas))
    (view,) = original(size).views
    place = view.sample(5, torch.Generator(), canvas.extent).placement
    resampled = read_box(unit_range(canvas), canvas.extent, place, view.shape(len(sides)))
    torch.testing.assert_close(fast, resampled, rtol=0, atol=5e-6)


def test_what_must_be_resampled_is(canvas):
    flipped = ViewSet((replace(original(32).views[0], geometry=Geometry(CentreCrop(), (Flip(1.0),))),))
    torch.testing.assert_close(draw(flipped, [canvas]).views[0], unit_range(canvas).flip(-1))
    padded, extent = pad_together([torch.rand(3, 32, 32), torch.rand(3, 16, 32)])
    shared = Canvas(padded, extent, torch.arange(2), value_range=(0.0, 1.0))
    whole, narrow = draw(original(32), [shared]).views[0]
    torch.testing.assert_close(whole, padded[0])
    middle = reference.resize(padded[1, :, :16, 8:24], [32, 32], antialias=True)
    torch.testing.assert_close(narrow[..., 2:-2], middle[..., 2:-2])  # beyond its crop torchvision sees nothing


def test_rotations_are_lossless_turns_of_one_view_and_come_after_the_flip(canvas):
    views = draw(rotations(32, Augmentation()), [canvas]).views
    assert len(views) == 4
    for turns, view in enumerate(views):
        assert view.equal(torch.rot90(views[0], turns, (-2, -1))) and view.is_contiguous()


def test_sets_add_and_normalise_what_is_not_raw(canvas):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    both = (two_views(32, PLAIN) + original(32, raw=True) + original(32)).normalised(mean, std)
    raw, normalised = draw(both, [canvas]).views[2:]
    torch.testing.assert_close(raw, canvas.pixels / 255, rtol=0, atol=5e-6)
    torch.testing.assert_close(normalised, reference.normalize(raw, list(mean), list(std)), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="std"):
        both.normalised(mean, (0.2, 0.0, 0.2))
    with pytest.raises(ValueError, match="3 channels"):
        draw(original(32).normalised((0.5,), (0.2,)), [canvas])


def test_masks_are_drawn_beside_the_views(canvas):
    masked = ViewSet(original(32).views, {"visible": RandomPatches((8, 8), 0.25)})
    batch = draw(masked, [canvas])
    assert batch.draws["visible"].shape == (11, 16) and len(batch) == 11


@pytest.mark.parametrize(
    ("dtype", "value_range"),
    [
        (torch.uint8, (0.0, 255.0)),
        (torch.uint16, (0.0, 65535.0)),
        (torch.int16, (-1000.0, 2000.0)),
        (torch.float16, (0.0, 1.0)),
        (torch.float32, (-1.0, 1.0)),
    ],
)
def test_every_dtype_is_mapped_from_its_range_to_the_unit_interval(dtype, value_range):
    low, high = value_range
    unit = torch.rand(4, 1, 16, 16)
    pixels = (unit * (high - low) + low).to(dtype)
    (view,) = draw(original(16), [full_canvas(pixels, value_range=value_range)]).views
    assert view.dtype == torch.float32
    torch.testing.assert_close(view, (pixels.float() - low) / (high - low), rtol=0, atol=5e-6)


@pytest.mark.parametrize("augmentation", [Augmentation(), EVERY], ids=["simclr", "every"])
@pytest.mark.parametrize("dims", [2, 3])
def test_not_even_padding_that_is_no_number_is_read(augmentation, dims):
    images = [torch.rand(1, *sizes[:dims]) for sizes in [(20, 24, 18), (31, 17, 20), (16, 40, 22)]]
    pixels, extent = pad_together(images)
    for row, sizes in zip(pixels, extent, strict=True):
        empty = torch.ones(row.shape, dtype=torch.bool)
        empty[(slice(None), *(slice(size) for size in sizes.tolist()))] = False
        row[empty] = torch.nan
    canvas = Canvas(pixels, extent, torch.arange(3), value_range=(0.0, 1.0))
    for view in draw(two_views(16, augmentation) + original(16), [canvas]).views:
        assert view.shape == (3, 1, *(16,) * dims) and view.isfinite().all()


def test_a_fast_set_agrees_with_one_that_resamples_in_general(canvas):
    smooth = torch.nn.functional.interpolate(torch.rand(11, 3, 5, 5), size=(32, 32), mode="bilinear")
    canvas = full_canvas(smooth, value_range=(0.0, 1.0))
    upright = draw(two_views(24, replace(PLAIN, shift=0.05)), [canvas]).views
    turned = draw(two_views(24, replace(PLAIN, shift=0.05, rotate=1e-4)), [canvas]).views
    for fast, general in zip(upright, turned, strict=True):
        assert (fast - general).abs().mean() < 0.01


def test_views_are_float32_whatever_the_autocast(canvas):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = draw(two_views(24), [canvas]).views
    for view, outside in zip(inside, draw(two_views(24), [canvas]).views, strict=True):
        assert view.equal(outside) and view.dtype == torch.float32


@pytest.mark.parametrize("dims", [2, 3])
def test_large_views_are_read_by_taps_as_by_matrices(dims):
    pixels = torch.rand(3, 1, *(52, 60, 50)[:dims])
    view = two_views(56, replace(PLAIN, flip=0.5)).views[0]
    drawn = view.sample(3, torch.Generator().manual_seed(0), torch.tensor(pixels.shape[2:]).expand(3, -1))
    canvas = full_canvas(pixels, value_range=(0.0, 1.0))
    by_matrices = read_box(pixels, canvas.extent, drawn.placement, (56,) * dims)
    torch.testing.assert_close(view.apply(Chunk(canvas), drawn), by_matrices, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_large_views_of_bytes_are_torchvisions_crops(channels):
    pixels = torch.randint(0, 256, (8, channels, 90, 72), dtype=torch.uint8)
    batch = draw(two_views((64, 50), replace(PLAIN, flip=0.5)), [full_canvas(pixels)])
    mirrored = 0
    for view, place in zip(batch.views, batch.places, strict=True):
        for image, shown, centre, axes in zip(pixels, view, place.centre, place.axes, strict=True):
            half = axes.diagonal()
            (top, left), (height, width) = (centre - half.abs()).tolist(), (2 * half.abs()).tolist()
            assert all(number == int(number) for number in (top, left, height, width))
            box = (int(number) for number in (top, left, height, width))
            expected = reference.resized_crop(image, *box, [64, 50], antialias=True)
            mirrored += bool(half[1] < 0)
            assert shown.equal((expected.flip(-1) if half[1] < 0 else expected).float() * (1 / 255))
    assert 0 < mirrored < 16


def test_bytes_that_fill_a_part_of_their_range_are_not_rounded():
    canvas = full_canvas(torch.randint(0, 2, (4, 1, 80, 80), dtype=torch.uint8), value_range=(0.0, 1.0))
    (view,) = ViewSet((random_view(64, PLAIN),))([canvas], torch.Generator().manual_seed(0)).views
    assert ((view > 0.1) & (view < 0.9)).float().mean() > 0.1


def test_padding_and_other_devices_read_the_same_large_views():
    pixels = torch.nn.functional.interpolate(torch.rand(6, 3, 9, 9) * 255, size=(80, 96), mode="bicubic").clamp(0, 255)
    extent = torch.tensor([[80, 96], [60, 96], [80, 70], [64, 64], [80, 96], [71, 83]])
    canvas = Canvas(pixels.byte(), extent, torch.arange(6))
    view = random_view(64, replace(PLAIN, flip=0.5))
    drawn = view.sample(6, torch.Generator().manual_seed(0), extent)
    rounded = view.apply(Chunk(canvas), drawn)
    exact = read_box(unit_range(canvas), extent, drawn.placement, (64, 64))
    assert (rounded - exact)[..., 2:-2, 2:-2].abs().max() < 1.5 / 255  # beyond the box there is nothing to be read


def test_without_small_crops_the_scale_is_that_of_all_views():
    augmentation = Augmentation(scale=(0.5, 0.9), crops=(4, 0))
    several = multi_crop(24, augmentation).views
    assert len(several) == 4 and several[:2] == two_views(24, augmentation).views
    assert {view.geometry.crop.scale for view in several} == {(0.5, 0.9)}


def coordinates(sides):
    """A canvas of three images whose pixels are their own coordinates, the first axis in the first channel."""
    axes = torch.meshgrid(*(torch.arange(side) + 0.5 for side in sides), indexing="ij")
    pixels = torch.stack(axes)[None].expand(3, -1, *[-1] * len(sides)).contiguous()
    return full_canvas(pixels, value_range=(0.0, 1.0))


def shown(place, sides):
    """`(n, d, *sides)` image coordinates that a view's pixels show, by its place."""
    points = torch.stack(torch.meshgrid(*(2 * (torch.arange(s) + 0.5) / s - 1 for s in sides), indexing="ij"))
    centre = place.centre.view(*place.centre.shape, *[1] * len(sides))
    return centre + torch.einsum("nij,j...->ni...", place.axes, points)


SMALL_CROPS = Augmentation(scale=(0.1, 0.3), jitter_p=0.0, grayscale=0.0, blur=0.0)
PLACED = {
    "crop and flip": (two_views(16, SMALL_CROPS), (80, 64)),
    "sides that differ": (two_views((12, 20), SMALL_CROPS), (80, 64)),
    "turned": (rotations(16, SMALL_CROPS), (80, 64)),
    "rotated": (two_views(16, replace(SMALL_CROPS, rotate=20.0)), (80, 64)),
    "puzzle": (jigsaw(48, SMALL_CROPS), (96, 80)),
    "patches": (patches((24, 32), SMALL_CROPS, tile=8, stride=4), (96, 80)),
    "volume": (two_views((8, 8, 12), SMALL_CROPS), (32, 40, 36)),
    "tiles of a volume": (patches(16, SMALL_CROPS, tile=8, stride=8, dims=3), (32, 40, 36)),
}


@pytest.mark.parametrize("name", PLACED)
def test_places_say_where_each_view_lies(name):
    views, sides = PLACED[name]
    batch = views([coordinates(sides)], torch.Generator().manual_seed(1))
    assert len(batch.places) == len(batch.views)
    for view, place in zip(batch.views, batch.places, strict=True):
        expected = shown(place, view.shape[2:])
        inside = torch.ones_like(expected[:, 0], dtype=torch.bool)
        for axis, side in enumerate(sides):  # beyond the border the image is its own mirror image
            inside &= (expected[:, axis] > 4) & (expected[:, axis] < side - 4)
        assert inside.float().mean() > 0.3
        error = (view - expected).abs().amax(1)[inside]
        assert error.max() < (1.0 if name == "rotated" else 0.1)


def test_a_view_lies_where_the_one_it_follows_lies():
    small = View(8, Geometry(RandomResizedCrop()), follows=-1)
    pair = ViewSet((random_view(16, SMALL_CROPS), small, replace(small, size=4)))
    canvas, generator = coordinates((64, 64)), torch.Generator().manual_seed(0)
    batch = pair([canvas], generator)
    alone = ViewSet(pair.views[:1])([canvas], torch.Generator().manual_seed(0))
    assert torch.equal(batch.views[0], alone.views[0]), "what follows draws nothing"
    for view, place in zip(batch.views[1:], batch.places[1:], strict=True):
        assert torch.equal(place.centre, batch.places[0].centre) and torch.equal(place.axes, batch.places[0].axes)
        assert (view - F.adaptive_avg_pool2d(batch.views[0], view.shape[-1])).abs().max() < 1.5


@pytest.mark.parametrize(("follows", "number"), [(-1, 0), (0, 1), (1, 1), (-2, 1)])
def test_what_cannot_be_followed_is_refused(follows, number):
    views = [View(8, Geometry(CentreCrop())) for _ in range(2)]
    views[number] = replace(views[number], follows=follows)
    with pytest.raises(ValueError, match=r"follow"):
        ViewSet(tuple(views))


def test_a_view_keeps_a_mean_of_its_own():
    own = View(8, Geometry(CentreCrop()), mean=(0.5, 0.5), std=(2.0, 2.0))
    encoder, teacher = ViewSet((replace(own, mean=None, std=None), own)).normalised((0.0, 0.0), (1.0, 1.0)).views
    assert encoder.mean == (0.0, 0.0) and teacher.mean == (0.5, 0.5) and teacher.std == (2.0, 2.0)
    canvas = coordinates((8, 8))
    plain, shifted = ViewSet((encoder, teacher))([canvas], torch.Generator()).views
    torch.testing.assert_close(shifted, (plain - 0.5) / 2)
    with pytest.raises(ValueError, match="give both"):
        replace(own, std=None)


class Codes:
    """A draw of several parts."""

    def sample(self, n, generator):
        return torch.rand(n, 2, generator=generator), torch.arange(n)


def test_a_draw_may_have_several_parts():
    views = ViewSet(original(8).views, {"codes": Codes()}) + original(4)
    batch = views([coordinates((8, 8))], torch.Generator().manual_seed(0), seed=11)
    codes, order = batch[1:].draws["codes"]
    assert codes.shape == (2, 2) and order.tolist() == [1, 2] and batch.shared_seed == 11
