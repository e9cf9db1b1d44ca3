"""`embed` on handwritten digits: what it writes is what the encoder answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from selfsight.embed import embed
from selfsight.nets import build_encoder, save_encoder

COUNT = 40


@pytest.fixture(scope="module")
def images():
    return (load_digits().images[:COUNT] * 15).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """Two classes in two splits; one file is no image."""
    root = tmp_path_factory.mktemp("images")
    for number, image in enumerate(images):
        path = root / ("train" if number < 30 else "test") / ("even", "odd")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (root / "train" / "even" / "02.png").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=8, channels=1).eval()


@pytest.fixture(scope="module")
def run(encoder, tmp_path_factory):
    save_encoder(encoder, path := tmp_path_factory.mktemp("run"))
    return path


@torch.no_grad()
def expected(function, images):
    return function(torch.from_numpy(images)[:, None] / 255).numpy()


def test_parquet_holds_features_and_metadata(run, encoder, images, folder, tmp_path):
    table = pd.read_parquet(embed(run, folder, out=tmp_path / "new" / "features.parquet"))
    assert len(table) == COUNT - 1 and table["split"].value_counts().to_dict() == {"train": 29, "test": 10}
    number = [int(str(path)[-6:-4]) for path in table["path"]]
    assert table["class"].tolist() == [("even", "odd")[n % 2] for n in number]
    features = np.stack(table["features"].to_list())
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(encoder, images[number]), atol=1e-5)


def test_npz_of_one_split(run, encoder, images, folder, tmp_path):
    path = embed(run, folder, out=tmp_path / "features.npz", split="test", batch_size=3)
    with np.load(path) as archive:  # refuses pickles
        number = [int(path[-6:-4]) for path in archive["path"]]
        assert sorted(number) == list(range(30, 40))
        assert archive["index"].tolist() == list(range(10)) and set(archive["class"]) == {"even", "odd"}
        np.testing.assert_allclose(archive["features"], expected(encoder, images[number]), atol=1e-5)


def test_patch_features(folder, tmp_path):
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=16, channels=1, depth=1).eval()
    save_encoder(vit, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16), dtype=np.uint8)
    for suffix in ("npz", "parquet"):
        path = embed(tmp_path, images, out=tmp_path / f"patches.{suffix}", features="patch")
        if suffix == "npz":
            features = np.load(path)["features"]
        else:
            features = np.stack([np.stack(list(row)) for row in pd.read_parquet(path)["features"]])
        assert features.shape == (5, 16, 192)
        np.testing.assert_allclose(features, expected(lambda x: vit.tokens(x)[:, vit.prefix :], images), atol=1e-5)


def test_any_name_of_timm(tmp_path):
    path = embed("resnet_slim", "digits", out=tmp_path / "digits.npz", image_size=8)
    with np.load(path) as archive:
        assert archive["features"].shape == (1797, 256) and (archive["label"] == load_digits().target).all()


def test_bad_input(run, folder, tmp_path):
    with pytest.raises(ValueError, match=r"end out in \.parquet or \.npz"):
        embed(run, folder, out=tmp_path / "features.csv")
    with pytest.raises(ValueError, match="no split 'val'"):
        embed(run, folder, out=tmp_path / "features.npz", split="val")
    (tmp_path / "there.npz").write_bytes(b"kept")
    with pytest.raises(ValueError, match="set overwrite"):
        embed(run, folder, out=tmp_path / "there.npz")
    assert (tmp_path / "there.npz").read_bytes() == b"kept"
    embed(run, folder, out=tmp_path / "there.npz", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.npz"]
