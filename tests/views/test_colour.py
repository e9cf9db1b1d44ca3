from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as reference

from selfsight.views import Augmentation, ColourJitter, Cutout, GaussianBlur, Grayscale, Noise, Solarize
from selfsight.views.colour import rows

N = 2000
SIGMA = {GaussianBlur: {"sigma": (0.5, 2.0)}}  # less would leave the image as it is
EVERY = [ColourJitter(), Grayscale(0.5), GaussianBlur(), Solarize(0.5), Noise(), Cutout()]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_by_themselves_colours_have_the_defaults_of_augmentation():
    usual = Augmentation()
    assert ColourJitter() == ColourJitter(*usual.jitter, p=usual.jitter_p)
    assert Grayscale() == Grayscale(usual.grayscale)
    assert GaussianBlur() == GaussianBlur(usual.blur, usual.blur_sigma)
    assert Solarize().threshold == usual.solarize_threshold
    assert Noise().sigma == usual.noise_sigma and Cutout().scale == usual.cutout_scale


@pytest.mark.parametrize("colour", EVERY, ids=lambda colour: type(colour).__name__)
@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 20, 20), (4, 20, 20), (1, 20, 20, 20)], ids=str)
def test_a_part_of_the_batch_is_treated_as_in_the_whole(colour, shape, generator):
    x = torch.rand(9, *shape, generator=generator)
    parameters, before = colour.sample(9, generator), x.clone()
    together = colour.apply(x.clone(), parameters)
    assert x.equal(before) and together.shape == x.shape
    assert together.min() >= -1e-6 and together.max() <= 1 + 1e-6
    for part in (slice(0, 2), slice(2, 9)):
        torch.testing.assert_close(
            colour.apply(x[part].clone(), rows(parameters, part)), together[part], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("colour", EVERY, ids=lambda colour: type(colour).__name__)
def test_probability_is_kept(colour, generator):
    x = torch.rand(N, 3, 10, 10, generator=generator) * 0.8 + 0.1
    if isinstance(colour, GaussianBlur):
        x = x.repeat(1, 1, 2, 2)  # at 10 pixels the kernel has one tap
    for p in (0.0, 0.3, 1.0):
        changed = replace(colour, p=p, **SIGMA.get(type(colour), {}))
        difference = (changed.apply(x.clone(), changed.sample(N, generator)) - x).flatten(1).abs().amax(1)
        assert abs((difference > 1e-4).float().mean() - p) < 0.04


def test_jitter_follows_its_parameters_in_its_order(generator):
    x = torch.rand(6, 3, 8, 8)
    jitter = ColourJitter(0.4, 0.4, 0.4, 0.1, p=1.0)
    orders = set()
    for _ in range(8):
        parameters = jitter.sample(6, generator)
        orders.add(parameters["order"])
        expected = []
        for i, image in enumerate(x):
            for name in parameters["order"]:
                image = getattr(reference, f"adjust_{name}")(image, float(parameters[name][i]))
            expected.append(image)
        torch.testing.assert_close(jitter.apply(x.clone(), parameters), torch.stack(expected), rtol=0, atol=1e-5)
    assert len(orders) > 3


def test_jitter_draws_within_its_strengths(generator):
    parameters = ColourJitter(1.4, 0.4, 0.0, 0.1, p=1.0).sample(N, generator)
    assert 0 <= parameters["brightness"].min() < 0.05 and 2.3 < parameters["brightness"].max() <= 2.4
    assert 0.6 <= parameters["contrast"].min() < 0.62 and 1.38 < parameters["contrast"].max() <= 1.4
    assert -0.1 <= parameters["hue"].min() < -0.09 and 0.09 < parameters["hue"].max() <= 0.1
    assert "saturation" not in parameters["order"]


def test_blur_takes_a_tenth_of_the_image(generator):
    blur = GaussianBlur(p=1.0, sigma=(0.5, 2.0))
    for size, taps in [(32, 3), (96, 9), (224, 23)]:
        x = torch.rand(2, 3, size, size)
        parameters = blur.sample(2, generator)
        expected = [
            reference.gaussian_blur(image, [taps, taps], [float(sigma)] * 2)
            for image, sigma in zip(x, parameters["sigma"], strict=True)
        ]
        torch.testing.assert_close(blur.apply(x.clone(), parameters), torch.stack(expected), rtol=0, atol=2e-6)


def test_noise_has_the_drawn_deviation_and_its_own_pattern(generator):
    x = torch.full((8, 3, 64, 64), 0.5)
    noise = Noise(1.0, (0.01, 0.1))
    parameters = noise.sample(8, generator)
    difference = noise.apply(x.clone(), parameters) - x
    torch.testing.assert_close(difference.flatten(1).std(1), parameters["sigma"], rtol=0.03, atol=0)
    assert torch.corrcoef(difference.flatten(1)).fill_diagonal_(0).abs().max() < 0.05


def test_cutout_equals_torchvision_erase(generator):
    x = torch.rand(N, 1, 40, 30)
    cutout = Cutout(1.0, (0.1, 0.3))
    view = cutout.apply(x.clone(), cutout.sample(N, generator))
    hole = (view == cutout.fill)[:, 0]
    area = hole.flatten(1).float().mean(1)
    assert 0.09 < area.min() < 0.12 and 0.28 < area.max() < 0.32
    for image, out, mask in zip(x[:20], view[:20], hole[:20], strict=True):
        ys, xs = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        expected = reference.erase(image, int(ys[0]), int(xs[0]), len(ys), len(xs), torch.tensor(cutout.fill))
        assert out.equal(expected)
