import math

import pytest
import torch

from selfsight.views.geometry import Affine, CentreCrop, Flip, Geometry, RandomResizedCrop, box, rotation

N = 4000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def sides(placement):
    return 2 * placement.axes.norm(dim=1)


def corners(placement):
    half = placement.axes.abs().sum(2)
    return placement.centre - half, placement.centre + half


@pytest.mark.parametrize("extent", [(32, 32), (48, 64), (20, 24, 28)])
def test_crops_lie_inside_with_area_and_ratio_as_asked(generator, extent):
    sizes = torch.tensor(extent).expand(N, -1)
    placement = RandomResizedCrop((0.08, 0.8), (3 / 4, 4 / 3)).sample(N, generator, sizes)
    low, high = corners(placement)
    assert low.min() > -1e-4 and (high - sizes).max() < 1e-4
    area = sides(placement).prod(1) / math.prod(extent)
    assert 0.08 - 1e-5 < area.min() < 0.1 and 0.7 < area.max() < 0.8 + 1e-5
    ratio = sides(placement)[:, 1:] / sides(placement)[:, :1]
    assert 3 / 4 - 1e-5 < ratio.min() < 0.77 and 1.3 < ratio.max() < 4 / 3 + 1e-5
    assert abs(ratio[area < 0.3].log().mean()) < 0.02


@pytest.mark.parametrize("extent", [(64, 90), (3, 2), (20, 24, 28)])
def test_crops_of_whole_pixels_lie_anywhere_in_the_image(generator, extent):
    low, high = corners(RandomResizedCrop((0.01, 1.0), whole=True).sample(N, generator, torch.tensor([extent] * N)))
    assert low.equal(low.round()) and high.equal(high.round()) and (high > low).all()
    assert low.amin(0).tolist() == [0] * len(extent) and high.amax(0).tolist() == list(extent)
    middle = ((low + high) / 2 / torch.tensor(extent)).mean(0)
    assert (middle - 0.5).abs().max() < 0.02


def test_areas_are_uniform_where_all_shapes_fit(generator):
    placement = RandomResizedCrop((0.1, 0.5)).sample(N, generator, torch.tensor([[100, 100]]).expand(N, -1))
    area = (sides(placement).prod(1) / 100**2).sort().values
    expected = torch.linspace(0.1, 0.5, N)
    assert (area - expected).abs().max() < 0.02


def test_an_image_that_no_try_fits_is_cropped_in_its_centre(generator):
    extent = torch.tensor([[10, 200], [200, 10], [30, 30]])
    placement = RandomResizedCrop((1.0, 1.0), (1.0, 1.0)).sample(3, generator, extent)
    torch.testing.assert_close(sides(placement), torch.tensor([[10.0, 10], [10, 10], [30, 30]]))
    torch.testing.assert_close(placement.centre, extent / 2)
    wide = RandomResizedCrop((1.0, 1.0), (3 / 4, 4 / 3)).sample(1, generator, extent[:1])
    torch.testing.assert_close(sides(wide), torch.tensor([[10.0, 40 / 3]]))


def test_centre_crop_keeps_the_shape_of_things(generator):
    extent = torch.tensor([[40, 60], [60, 40]])
    torch.testing.assert_close(sides(CentreCrop().sample(2, generator, extent)), torch.full((2, 2), 40.0))
    twice = CentreCrop((1.0, 2.0)).sample(2, generator, extent)
    torch.testing.assert_close(sides(twice), torch.tensor([[30.0, 60], [20, 40]]))


def test_by_itself_a_flip_is_one_of_two_from_left_to_right():
    assert Flip() == Flip(p=0.5, axis=-1) and Affine() == Affine(rotate=0.0, shift=0.0)


@pytest.mark.parametrize(
    ("geometry", "sides", "whole"),
    [
        (Geometry(CentreCrop()), (32, 32), True),
        (Geometry(CentreCrop()), (8, 8, 8), True),
        (Geometry(CentreCrop()), (32, 31), False),
        (Geometry(CentreCrop((2.0, 3.0))), (20, 30), True),
        (Geometry(CentreCrop((2.0, 3.0))), (30, 20), False),
        (Geometry(CentreCrop(), (Flip(),)), (32, 32), False),
        (Geometry(RandomResizedCrop()), (32, 32), False),
    ],
)
def test_which_views_are_the_whole_image(geometry, sides, whole):
    assert geometry.is_whole(sides) is whole


def test_flips_happen_as_often_as_asked(generator):
    placement = box(torch.full((N, 2), 8.0), torch.full((N, 2), 16.0))
    axes = Flip(0.3).sample(N, generator, placement).axes
    assert abs((axes[:, 1, 1] < 0).float().mean() - 0.3) < 0.03
    assert (axes[:, 0, 0] == 8).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_rotations_and_shifts_stay_within_their_range(generator, dims):
    placement = box(torch.full((N, dims), 8.0), torch.full((N, dims), 16.0))
    turned = Affine(rotate=20, shift=0.25).sample(N, generator, placement)
    torch.testing.assert_close(sides(turned), torch.full((N, dims), 16.0))
    angle = torch.rad2deg(torch.atan2(turned.axes[:, 1, 0], turned.axes[:, 0, 0]))
    assert 17 < angle.max() < (20.01 if dims == 2 else 40) and angle.min() < -17
    only_shifted = Affine(shift=0.25).sample(N, generator, placement)
    moved = (only_shifted.centre - placement.centre) / 16
    assert 0.24 < moved.max() <= 0.25 and -0.24 > moved.min() >= -0.25


def test_a_rotation_keeps_lengths_and_handedness():
    matrix = rotation(torch.tensor([0.3, -1.2]), (0, 2), 3)
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), torch.eye(3).expand(2, -1, -1))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(2))


def test_which_views_are_boxes_of_whole_pixels():
    whole = RandomResizedCrop(whole=True)
    assert Geometry(whole, (Flip(), Flip(axis=0))).of_whole_pixels
    for geometry in (Geometry(RandomResizedCrop()), Geometry(whole, (Affine(shift=0.1),)), Geometry(CentreCrop())):
        assert not geometry.of_whole_pixels


def test_only_rotations_need_the_general_resampling():
    assert Geometry(RandomResizedCrop(), (Affine(shift=0.1), Flip())).upright
    assert not Geometry(RandomResizedCrop(), (Affine(rotate=5), Flip())).upright
