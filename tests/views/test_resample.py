import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as reference

from selfsight.views import Placement
from selfsight.views.geometry import box, rotation
from selfsight.views.resample import box_taps, mirror, read_affine, read_box, read_taps


def read_by_taps(pixels, extent, placement, size):
    return read_taps(pixels, box_taps(extent, placement, size))


UPRIGHT = [read_box, read_by_taps]
READERS = [*UPRIGHT, read_affine]


def whole(n, *sizes):
    """Extent, and a placement that shows all of it."""
    extent = torch.tensor(sizes).expand(n, -1)
    return extent, box(extent / 2, extent.float())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("size", [(24, 20), (31, 40)])
def test_the_whole_image_equals_torchvision_resize(reader, size):
    x = torch.rand(4, 3, 24, 20)
    expected = reference.resize(x, list(size), antialias=True)
    torch.testing.assert_close(reader(x, *whole(4, 24, 20), size), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("reader", UPRIGHT)
@pytest.mark.parametrize("size", [(10, 9), (5, 20), (24, 7)])
def test_shrinking_equals_torchvision_antialias(reader, size):
    x = torch.rand(4, 3, 24, 20)
    expected = reference.resize(x, list(size), antialias=True)
    torch.testing.assert_close(reader(x, *whole(4, 24, 20), size), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("reader", UPRIGHT)
def test_crops_equal_torchvision_but_for_the_reach_over_their_border(reader):
    x = torch.rand(1, 3, 64, 48)
    extent, _ = whole(1, 64, 48)
    for top, left, height, width, size in [(5, 7, 40, 30, 16), (0, 0, 20, 48, 24), (30, 10, 12, 12, 24)]:
        placement = box(torch.tensor([[top + height / 2, left + width / 2]]), torch.tensor([[height, width]]).float())
        view = reader(x, extent, placement, (size, size))
        expected = reference.resized_crop(x, top, left, height, width, [size, size], antialias=True)
        border = math.ceil(max(1, size / min(height, width)))
        inner = slice(border, -border)
        torch.testing.assert_close(view[..., inner, inner], expected[..., inner, inner], rtol=0, atol=5e-6)
        assert (view - expected).abs().mean() < 0.03


@pytest.mark.parametrize("reader", READERS)
def test_flips_equal_torch(reader):
    x = torch.rand(2, 3, 16, 16)
    extent, placement = whole(2, 16, 16)
    for axis in (0, 1):
        axes = placement.axes.clone()
        axes[:, :, axis] *= -1
        view = reader(x, extent, Placement(placement.centre, axes), (16, 16))
        torch.testing.assert_close(view, x.flip(2 + axis), rtol=0, atol=5e-6)


def test_quarter_turns_equal_torch():
    x = torch.rand(2, 3, 16, 16)
    extent, placement = whole(2, 16, 16)
    for turns in range(4):
        axes = rotation(torch.full((2,), turns * math.pi / 2), (0, 1), 2) @ placement.axes
        view = read_affine(x, extent, Placement(placement.centre, axes), (16, 16))
        torch.testing.assert_close(view, torch.rot90(x, turns, (-2, -1)), rtol=0, atol=1e-5)


def test_a_rotation_equals_torchvision_inside():
    x = torch.rand(1, 3, 32, 32)
    extent, placement = whole(1, 32, 32)
    axes = rotation(torch.tensor([math.radians(25)]), (0, 1), 2) @ placement.axes
    view = read_affine(x, extent, Placement(placement.centre, axes), (32, 32))
    expected = reference.rotate(x, 25, interpolation=reference.InterpolationMode.BILINEAR)
    other = reference.rotate(x, -25, interpolation=reference.InterpolationMode.BILINEAR)
    inner = slice(10, 22)
    difference = min((view - each)[..., inner, inner].abs().max() for each in (expected, other))
    assert difference < 1e-4


def test_the_fast_way_agrees_with_the_general_one_within_resampling():
    smooth = F.interpolate(torch.rand(16, 3, 6, 6), size=(64, 64), mode="bicubic", align_corners=True)
    extent, _ = whole(16, 64, 64)
    generator = torch.Generator().manual_seed(0)
    sizes = 8 + 50 * torch.rand(16, 2, generator=generator)
    placement = box(sizes / 2 + (64 - sizes) * torch.rand(16, 2, generator=generator), sizes)
    for size in (12, 48):
        fast, general = (reader(smooth, extent, placement, (size, size)) for reader in (read_box, read_affine))
        assert (fast - general).abs().max() < 0.1
        assert (fast - general).abs().mean() < 0.01


@pytest.mark.parametrize("sizes", [(40, 64), (9, 12, 14)])
def test_taps_read_what_matrices_read(sizes):
    n, dims = 12, len(sizes)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(n, 3, *sizes, generator=generator)
    extent = torch.stack([torch.randint(side // 2, side + 1, (n,), generator=generator) for side in sizes], 1)
    boxes = extent * (0.1 + 1.2 * torch.rand(n, dims, generator=generator))  # some reach beyond the image
    flips = 1 - 2 * torch.randint(2, (n, dims), generator=generator)
    placement = box(extent * torch.rand(n, dims, generator=generator), boxes * flips)
    for size in ((8, 9, 7)[:dims], (70, 13, 20)[:dims]):
        expected, taps = read_box(pixels, extent, placement, size), box_taps(extent, placement, size)
        together = read_taps(pixels, taps)
        torch.testing.assert_close(together, expected, rtol=0, atol=1e-6)
        for i in range(n):  # others in the batch want more taps, which must not change a bit
            part = slice(i, i + 1)
            alone = read_taps(pixels[part], box_taps(extent[part], placement[part], size))
            assert alone.equal(together[part])
            assert alone.equal(read_taps(pixels[part], [each[part] for each in taps]))


def area_average(length, out):
    """Matrix that averages `length` pixels over `out` equal intervals."""
    edges = torch.linspace(0, length, out + 1)
    pixel = torch.arange(length)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return overlap.clamp_min(0) * out / length


def high_frequency_energy(x):
    frequency = torch.fft.fftfreq(x.shape[-1]).abs()
    high = (frequency[:, None] > 0.25) | (frequency > 0.25)
    return (torch.fft.fft2(x).abs() ** 2)[..., high].mean()


@pytest.mark.parametrize("side", [40, 42, 48, 64, 80, 84, 96, 128, 168, 200])
@pytest.mark.parametrize("reader", READERS)
def test_a_shrinking_view_of_noise_does_not_alias(reader, side):
    x = torch.rand(8, 1, side, side, generator=torch.Generator().manual_seed(side))
    average = area_average(side, 32)
    area = average @ x @ average.T
    view = reader(x, *whole(8, side, side), (32, 32))
    assert high_frequency_energy(view) < 1.5 * high_frequency_energy(area)


def test_each_sample_reads_the_level_that_fits_it():
    x = torch.rand(3, 1, 128, 128)
    extent, _ = whole(3, 128, 128)
    sides = torch.tensor([[16.0, 16.0], [60.0, 60.0], [128.0, 128.0]])
    together = read_affine(x, extent, box(extent / 2, sides), (16, 16))
    for i in range(3):
        placement = box(extent[i : i + 1] / 2, sides[i : i + 1])
        alone = read_affine(x[i : i + 1], extent[i : i + 1], placement, (16, 16))
        torch.testing.assert_close(alone, together[i : i + 1])
    torch.testing.assert_close(together[2:], F.avg_pool2d(x[2:], 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("zoom", [0.4, 1.0])
def test_padding_is_never_read(reader, dims, zoom):
    canvas, extent = (19, 23, 17)[:dims], torch.tensor([[19, 23, 17], [7, 11, 9], [13, 5, 6]])[:, :dims]
    pixels = torch.full((3, 2, *canvas), 1e6)
    images = [torch.rand(2, *sizes) for sizes in extent.tolist()]
    for row, image in zip(pixels, images, strict=True):
        row[(slice(None), *(slice(size) for size in image.shape[1:]))] = image
    placement = box(extent * 0.6, extent * zoom)
    view = reader(pixels, extent, placement, (8,) * dims)
    assert view.min() >= -1e-5 and view.max() <= 1 + 1e-5
    for i, image in enumerate(images):
        alone = reader(image[None], extent[i : i + 1], placement[i : i + 1], (8,) * dims)
        torch.testing.assert_close(view[i : i + 1], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reader", READERS)
def test_beyond_the_border_lies_the_mirror_image(reader):
    x = torch.rand(1, 1, 8, 8)
    extent, _ = whole(1, 8, 8)
    view = reader(x, extent, box(torch.tensor([[4.0, 8.0]]), torch.tensor([[8.0, 8.0]])), (8, 8))
    torch.testing.assert_close(view, torch.cat([x[..., 4:], x[..., 4:].flip(-1)], -1), rtol=0, atol=1e-5)
    positions = torch.tensor([-9.0, -1.0, 0.0, 3.0, 8.0, 9.0, 17.0])
    assert mirror(positions, torch.tensor(8)).tolist() == [7, 1, 0, 3, 8, 7, 1]


@pytest.mark.parametrize("reader", READERS)
def test_volumes_equal_trilinear_interpolation(reader):
    x = torch.rand(2, 2, 8, 10, 12)
    expected = F.interpolate(x, size=(9, 14, 12), mode="trilinear", align_corners=False)
    torch.testing.assert_close(reader(x, *whole(2, 8, 10, 12), (9, 14, 12)), expected, rtol=0, atol=5e-6)
