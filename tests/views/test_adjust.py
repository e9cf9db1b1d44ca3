import pytest
import torch
import torchvision.transforms.v2.functional as reference

from selfsight.views import adjust
from selfsight.views.resample import multiply_axes


@pytest.fixture(scope="module")
def images():
    """Random images, and among them the corner cases of hue: grey, two equal channels, black, white, few levels."""
    x = torch.rand(24, 3, 17, 21, generator=torch.Generator().manual_seed(0))
    x[0] = x[0, :1]
    x[1, 1], x[2, 2], x[3, 2] = x[1, 0], x[2, 1], x[3, 0]
    x[4], x[5] = 0, 1
    x[6:12] = (x[6:12] * 3).round() / 3
    x[12] = x[12] * 1e-3 + 0.5
    return x


def each(function, images, amounts):
    return torch.stack([function(image, float(amount)) for image, amount in zip(images, amounts, strict=True)])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_equal_torchvision(images, name):
    factor = torch.linspace(0, 1.8, len(images))
    expected = each(getattr(reference, f"adjust_{name}"), images, factor)
    torch.testing.assert_close(getattr(adjust, name)(images, factor), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.31, -1 / 6, 0.0, 0.05, 1 / 3, 0.5])
def test_hue_equals_torchvision_without_its_round_trip(images, turn):
    expected = each(reference.adjust_hue, images, torch.full((len(images),), turn))
    torch.testing.assert_close(adjust.hue(images, torch.full((len(images),), turn)), expected, rtol=0, atol=5e-6)


def test_hue_turns_each_image_by_its_own_shift(images):
    shift = torch.linspace(-0.5, 0.5, len(images))
    torch.testing.assert_close(adjust.hue(images, shift), each(reference.adjust_hue, images, shift), rtol=0, atol=5e-6)


def test_grey_and_solarize_equal_torchvision(images):
    threshold = torch.linspace(0, 1, len(images))
    torch.testing.assert_close(adjust.grayscale(images), reference.rgb_to_grayscale(images, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(adjust.solarize(images, threshold), each(reference.solarize, images, threshold))


@pytest.mark.parametrize("taps", [3, 9, 23])
def test_blur_equals_torchvision(images, taps):
    sigma = torch.linspace(0.1, 2, len(images))
    small = images if taps < 17 else torch.cat([images, images], 2)
    expected = each(lambda x, s: reference.gaussian_blur(x, [taps, taps], [s, s]), small, sigma)
    torch.testing.assert_close(adjust.gaussian_blur(small, sigma, taps), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(24, 31), (23, 23), (12, 13, 12)])
@pytest.mark.parametrize("taps", [3, 23])
def test_blur_by_taps_equals_that_by_matrices(shape, taps):
    x, sigma = torch.rand(6, 2, *shape), torch.linspace(0.1, 3, 6)
    kernel = adjust.gaussian(sigma, taps)
    expected = multiply_axes(x, [adjust.kernel_matrix(kernel, length) for length in shape])
    blurred = adjust.gaussian_blur(x, sigma, taps)
    torch.testing.assert_close(blurred, expected, rtol=0, atol=1e-6)
    for i in range(6):  # the widest kernel of a batch changes nothing for the others
        assert adjust.gaussian_blur(x[i : i + 1], sigma[i : i + 1], taps).equal(blurred[i : i + 1])


def test_blur_wider_than_the_image_is_refused(images):
    with pytest.raises(ValueError, match="23 taps"):
        adjust.gaussian_blur(images[..., :8], torch.ones(len(images)), 23)


def test_normalise_equals_torchvision(images):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    expected = reference.normalize(images, list(mean), list(std))
    torch.testing.assert_close(adjust.normalise(images, mean, std), expected, rtol=0, atol=1e-6)


def test_blur_of_a_volume_is_the_blur_of_each_axis():
    volume = torch.rand(2, 1, 12, 14, 16)
    sigma = torch.tensor([0.5, 1.5])
    blurred = adjust.gaussian_blur(volume, sigma, 5)
    planes = each(lambda x, s: reference.gaussian_blur(x, [5, 5], [s, s]), volume[:, 0], sigma)
    columns = planes.permute(0, 2, 3, 1)
    depth = each(lambda x, s: reference.gaussian_blur(x, [5, 1], [s, 1.0]), columns, sigma).permute(0, 3, 1, 2)
    torch.testing.assert_close(blurred[:, 0], depth, rtol=0, atol=2e-6)


def test_a_fourth_channel_is_alpha_which_colours_leave_alone():
    x, factor = torch.rand(3, 4, 8, 8), torch.tensor([0.3, 1.0, 1.7])
    for change in (lambda x: adjust.saturation(x, factor), lambda x: adjust.hue(x, factor - 1), adjust.grayscale):
        changed = change(x)
        assert changed[:, :3].equal(change(x[:, :3].contiguous())) and not changed[:, :3].equal(x[:, :3])
        assert changed[:, 3].equal(x[:, 3])


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_keep_what_only_colours_have(channels):
    x, factor = torch.rand(3, channels, 8, 8), torch.tensor([0.3, 1.0, 1.7])
    assert adjust.saturation(x, factor) is x
    assert adjust.hue(x, factor - 1) is x
    assert adjust.grayscale(x).equal(x)
    mean = x.mean((1, 2, 3), keepdim=True)
    expected = (mean + (x - mean) * factor.view(-1, 1, 1, 1)).clamp(0, 1)
    torch.testing.assert_close(adjust.contrast(x, factor), expected, rtol=0, atol=1e-6)


def test_seeded_normal_is_normal_and_independent_between_images():
    noise = adjust.seeded_normal(torch.arange(64), 4096)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    correlation = torch.corrcoef(noise)
    assert correlation.fill_diagonal_(0).abs().max() < 0.1
    lag = torch.corrcoef(torch.stack([noise[:, 1:].flatten(), noise[:, :-1].flatten()]))[0, 1]
    assert abs(lag) < 0.01


def test_inputs_stay_as_they_are(images):
    before, amount = images.clone(), torch.linspace(0.1, 0.5, len(images))
    for name in ("brightness", "contrast", "saturation", "hue", "solarize"):
        getattr(adjust, name)(images, amount)
    adjust.gaussian_blur(images, amount, 3)
    adjust.normalise(images, (0.5,) * 3, (0.2,) * 3)
    assert images.equal(before)
