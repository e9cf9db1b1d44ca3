"""Images whose sides differ, and volumes, through every verb and the methods that cut or measure them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import selfsight
from selfsight import cli
from selfsight.nets import as_encoder

WIDE, DEEP = (24, 36), (12, 16, 20)
METHODS = {
    "simclr": {"projector": (32,)},
    "cpc_v2": {"target": 8, "context": 16, "depth": 1, "tile": 6, "stride": 6},
    "pirl": {"dim": 16},
    "exemplar": {},
    "swav": {"projector": (32, 16), "prototypes": 8, "queue": 0},
    "mean_shift": {"projector": (32, 16), "predictor": (32, 16), "queue": 16, "neighbours": 2},
    "mv_mr": {"projector": (32, 32)},
    "deep_infomax": {"units": 16},
    "mae": {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
}
FLAT_ALONE = {"mv_mr", "deep_infomax", "mae"}  # hand-crafted features of images, maps of timm's, patches of a ViT


def images(*sides, count=12):
    """Random pixels `(count, *sides)`."""
    return np.random.default_rng(0).integers(0, 256, (count, *sides), dtype=np.uint8)


def train(data, method, out, **options):
    return selfsight.pretrain(
        data,
        method=method,
        method_options=METHODS[method],
        epochs=1,
        batch_size=6,
        devices="cpu",
        out=out,
        monitor=False,
        **options,
    )


@pytest.mark.parametrize("method", METHODS)
def test_images_whose_sides_differ(method, tmp_path):
    vit = method == "mae"
    encoder = "vit_small_image" if vit else "resnet_slim"
    options = {"depth": 1, "embed_dim": 24} if vit else {}
    data = images(30, 40, 3)
    run = train(data, method, tmp_path / "run", encoder=encoder, encoder_options=options, image_size=WIDE)
    assert run.config["image_size"] == list(WIDE) and run.encoder.spec.size == WIDE
    assert run.summary["finished"]
    path = selfsight.embed(run.path, data, out=tmp_path / "x.npz")
    assert np.isfinite(np.load(path)["features"]).all()


class Volumes(nn.Module):
    """A small net for volumes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - FLAT_ALONE))
def test_volumes_whose_sides_differ(method, tmp_path):
    encoder = as_encoder(Volumes(), image_size=DEEP, channels=1)
    run = train(images(14, 18, 22), method, tmp_path / "run", encoder=encoder, channels=1)
    assert run.config["image_size"] == list(DEEP)
    one = train(images(14, 18, 22), method, tmp_path / "cube", encoder=Volumes(), channels=1, image_size=12)
    assert one.config["image_size"] == 12


def test_targets_made_for_images_are_refused_for_volumes(tmp_path):
    encoder = as_encoder(Volumes(), image_size=DEEP, channels=1)
    data = images(14, 18, 22)
    with pytest.raises(ValueError, match=r"not volumes: use hog=0, local_std=0, scattering=0"):
        train(data, "mv_mr", tmp_path / "run", encoder=encoder, channels=1)
    options = {**METHODS["mv_mr"], "hog": 0, "local_std": 0, "scattering": 0}
    keywords = {"epochs": 1, "batch_size": 6, "monitor": False, "devices": "cpu", "channels": 1}
    run = selfsight.pretrain(
        data, method="mv_mr", method_options=options, encoder=encoder, out=tmp_path / "run", **keywords
    )
    assert run.summary["finished"]


def test_a_size_for_each_axis_on_the_shell(tmp_path):
    np.save(tmp_path / "images.npy", images(30, 40))
    arguments = ["--method", "simclr", "--encoder", "resnet_slim", "--epochs", "1", "--batch_size", "6"]
    data, out = str(tmp_path / "images.npy"), tmp_path / "run"
    assert cli.main(["pretrain", data, *arguments, "--image_size", "24,36", "--no_monitor", "--out", str(out)]) == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["image_size"] == [24, 36]
    assert cli.main(["embed", str(out), data, "--image_size", "12,20", "--out", str(tmp_path / "x.npz")]) == 0


@pytest.mark.parametrize(
    ("size", "message"),
    [((24, 36, 12), "has 2 axes: give a number for each"), ((24, 0), "image_size is"), ("24,36", "image_size is")],
)
def test_sizes_that_do_not_fit_are_refused(size, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(images(30, 40), "simclr", tmp_path / "run", encoder="resnet_slim", image_size=size)


def test_quarter_turns_need_equal_sides(tmp_path):
    with pytest.raises(ValueError, match=r"quarter turns .*tells them apart"):
        selfsight.pretrain(
            images(30, 40), method="rotation", encoder="resnet_slim", image_size=WIDE, out=tmp_path / "run"
        )


def test_a_run_resumes_with_sides_that_differ(tmp_path):
    torch.manual_seed(0)
    options = {"encoder": "resnet_slim", "image_size": WIDE}
    train(images(30, 40), "simclr", tmp_path / "run", **options)
    assert train(images(30, 40), "simclr", tmp_path / "run", resume=True, **options).finished
