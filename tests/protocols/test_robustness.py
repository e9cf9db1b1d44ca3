"""Corruptions against plain NumPy, SciPy and Pillow; a probe that suffers by them."""

from __future__ import annotations

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from sklearn.datasets import load_digits

from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.protocols._corruptions import JPEG, KINDS, NOISE, Corrupted, blur_width, corrupted
from selfsight.protocols.robustness import Robustness


@pytest.fixture
def x():
    smooth = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(smooth, (32, 48), mode="bilinear")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_strength_grows(x, kind, channels):
    x = x[:, :channels]
    away = [float((corrupted(x, kind, strength) - x).abs().mean()) for strength in (1, 2, 3, 4, 5)]
    assert away == sorted(away) and away[0] > 0
    assert all(
        corrupted(x, kind, strength).min() >= 0 and corrupted(x, kind, strength).max() <= 1 for strength in (1, 5)
    )


@pytest.mark.parametrize("strength", [1, 3, 5])
def test_against_others(x, strength):
    place, image = strength - 1, x[1].double().numpy()
    contrast = (image - image.mean(axis=(1, 2), keepdims=True)) * (0.4, 0.3, 0.2, 0.1, 0.05)[place]
    contrast += image.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(corrupted(x, "contrast", strength)[1].numpy(), contrast.clip(0, 1), atol=1e-6)
    brighter = np.empty_like(image)
    for row, column in np.ndindex(image.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column])
        brighter[:, row, column] = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.1 * strength))
    np.testing.assert_allclose(corrupted(x, "brightness", strength)[1].numpy(), brighter, atol=1e-5)
    blurred = image
    for axis in (1, 2):
        blurred = gaussian_filter1d(blurred, (0.4, 0.6, 0.7, 0.8, 1.0)[place], axis=axis, mode="mirror")
    np.testing.assert_allclose(corrupted(x, "blur", strength)[1].numpy(), blurred, atol=2e-3)
    stream = BytesIO()
    levels = (image * 255).round().astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(levels).save(stream, "JPEG", quality=JPEG[place])
    decoded = np.asarray(Image.open(stream)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(corrupted(x, "jpeg", strength)[1].numpy(), decoded, atol=1e-6)


def test_noise_is_normal_and_an_images_own(x):
    grey = torch.full((2, 1, 64, 64), 0.5)
    grey[1, 0, 0, 0] = 0.25
    noise = corrupted(grey, "noise", 1, seed=3) - grey
    assert noise.std() == pytest.approx(NOISE[0], rel=0.03) and noise.mean() == pytest.approx(0, abs=0.004)
    assert (noise[0] != noise[1]).float().mean() > 0.9
    assert torch.equal(corrupted(grey[1:], "noise", 1, seed=3)[0], corrupted(grey, "noise", 1, seed=3)[1])
    assert not torch.equal(corrupted(grey, "noise", 1, seed=4), corrupted(grey, "noise", 1, seed=3))


def test_how_wide_a_blur_is():
    assert [blur_width(side, 4) for side in (8, 32, 224, 448)] == [1, 1, 6, 12]
    assert 1 < blur_width(96, 4) < 6


def test_black_grows_grey():
    assert torch.equal(corrupted(torch.zeros(1, 3, 2, 2), "brightness", 2), torch.full((1, 3, 2, 2), 0.2))


def test_volumes_and_other_channels_suffer_all_but_jpeg():
    x = torch.rand(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for kind in ("blur", "noise", "brightness", "contrast"):
        assert corrupted(x, kind, 3).shape == x.shape and not torch.equal(corrupted(x, kind, 3), x)


def test_views_are_brought_back_and_normalised_again(x):
    encoder = build_encoder("resnet_slim", image_size=32)
    spec = encoder.spec.__class__(**{**encoder.spec.__dict__, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (spec.mean, spec.std))
    seen = Corrupted(lambda view: view, spec, "contrast", 2, 0)((x - mean) / std)
    torch.testing.assert_close(seen * std + mean, corrupted(x, "contrast", 2))


def test_a_probe_suffers(tmp_path):
    images, labels = load_digits(return_X_y=True)
    images = (images * 15).astype(np.uint8).reshape(-1, 8, 8)
    torch.manual_seed(0)
    encoder = build_encoder("resnet_slim", image_size=8, channels=1).eval()
    options = {"robustness": {"epochs": 10, "lrs": (1e-2,), "weight_decays": (1e-3,)}}
    data = (images[:600], labels[:600])
    records = evaluate(encoder, data, protocols="robustness", protocol_options=options, label="label")
    found = {one["metric"]: one["value"] for one in records if one["encoder"] == "trained"}
    assert records[0]["metric"] == "corrupted" and len(found) == 2 + 5 + 25
    assert found["clean"] > 0.7 > found["noise 5"] and found["noise 1"] > found["noise 5"]
    kinds = [found[kind] for kind in KINDS]
    assert found["corrupted"] == pytest.approx(np.mean(kinds))
    assert found["blur"] == pytest.approx(np.mean([found[f"blur {one}"] for one in range(1, 6)]))
    linear = evaluate(encoder, data, protocols="linear", protocol_options={"linear": options["robustness"]})
    assert found["clean"] == next(one["value"] for one in linear if one["metric"] == "top1")
    chance = {one["value"] for one in records if one["encoder"] == "chance"}
    assert len(chance) == 1 and chance.pop() < 0.2
    assert {one["encoder"] for one in records} == {"trained", "random", "pixels", "chance"}
    other = evaluate(encoder, data, protocols="robustness", protocol_options=options, batch_size=50)
    assert [one["value"] for one in other] == pytest.approx([one["value"] for one in records], abs=0.02)


@pytest.mark.parametrize(("options", "message"), [({"kinds": ("fog",)}, "not fog"), ({"strengths": (6,)}, "not 6")])
def test_what_cannot_be_asked(options, message):
    with pytest.raises(ValueError, match=message):
        Robustness(**options)
