"""`embed` on handwritten digits: what it writes is what the encoder answers."""

from __future__ import annotations

import io
import os

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from selfsight.data import ArraySource
from selfsight.embed import embed
from selfsight.nets import build_encoder, save_encoder
from selfsight.outputs import check_space
from selfsight.probes.tables import known_of, write_npz, write_parquet

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
    table = pd.read_parquet(embed(run, folder, out=tmp_path / "new" / "features.parquet", precision="32"))
    assert len(table) == COUNT - 1 and table["split"].value_counts().to_dict() == {"train": 29, "test": 10}
    number = [int(str(path)[-6:-4]) for path in table["path"]]
    assert table["class"].tolist() == [("even", "odd")[n % 2] for n in number]
    features = np.stack(table["features"].to_list())
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(encoder, images[number]), atol=1e-5)


def test_npz_of_one_split(run, encoder, images, folder, tmp_path):
    path = embed(run, folder, out=tmp_path / "features.npz", split="test", batch_size=3, precision="32")
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
        path = embed(tmp_path, images, out=tmp_path / f"patches.{suffix}", features="patch", precision="32")
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


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_a_tables_own_columns_survive_whatever_they_are_called(run, images, tmp_path, suffix):
    rows = pd.DataFrame({"path": [f"{number}.png" for number in range(6)], "label": list("ababab")})
    for number, path in enumerate(rows["path"]):
        Image.fromarray(images[number]).save(tmp_path / path)
    rows["features"] = rows["index"] = rows["file"] = range(10, 16)
    rows["class"] = list("zzzzzz")
    rows["allow_pickle"] = pd.array([1, None, 3, 4, 5, 6], dtype="Int64")
    rows["when"] = pd.date_range("2020-01-01", periods=6, tz="UTC")
    rows.to_parquet(tmp_path / "table.parquet")
    out = embed(run, tmp_path / "table.parquet", out=tmp_path / f"out.{suffix}")
    if suffix == "npz":
        with np.load(out) as archive:  # refuses pickles
            known = {name: archive[name] for name in archive.files}
    else:
        known = dict(pd.read_parquet(out).items())
    assert np.stack(list(known["features"])).shape == (6, 256)
    assert list(known["index"]) == list(range(6)) and list(known["class"]) == list("ababab")
    for name in ("features_in_table", "index_in_table", "file"):
        assert list(known[name]) == list(range(10, 16))
    assert set(known["class_in_table"]) == {"z"} and {"allow_pickle", "when"} <= set(known)


def test_a_column_named_as_numpy_names_its_own_is_read_back(run, images, tmp_path):
    for number, image in enumerate(images[:3]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    frame = pd.DataFrame({"path": [str(tmp_path / f"{number}.png") for number in range(3)], "features.npy": [7, 8, 9]})
    with np.load(embed(run, frame, out=tmp_path / "f.npz")) as archive:
        assert archive["features.npy_in_table"].tolist() == [7, 8, 9] and archive["features"].shape == (3, 256)


def test_columns_of_objects_and_of_one_name_are_written():
    source = ArraySource(np.zeros((3, 8, 8), np.uint8), pd.DataFrame([[1, "a", {}], [2, b"b", 3], [3, None, "x"]]))
    source.metadata.columns = pd.Index(["twice", "twice", 0])
    for form in (".npz", ".parquet"):
        known = known_of({"all": source}, several=False, form=form)
        assert list(known) == ["index", "twice", "twice_in_table", "0"]
        write = write_npz if form == ".npz" else write_parquet
        write(stream := io.BytesIO(), np.zeros((3, 2), np.float32), known, np.arange(3))
        assert len(stream.getvalue()) > 0


def test_outputs_are_looked_at_before_the_long_work(run, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    for out in ("folder.npz", "file/x.npz", "y" * 300 + ".npz"):
        with pytest.raises(ValueError, match=r"is a folder|cannot write"):
            embed(run, tmp_path / "no data", out=tmp_path / out)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.npz"]
    with pytest.raises(OSError, match="GB left"):
        check_space(tmp_path / "x.npz", 2**60)


def test_what_is_read_is_not_written_over(run, images, tmp_path):
    data = tmp_path / "d.npz"
    np.savez(data, images=images)
    before = data.read_bytes()
    (tmp_path / "link.npz").symlink_to(data)
    for out in (data, tmp_path / "link.npz"):
        for given in (data, {"train": data}):
            with pytest.raises(ValueError, match="which is read: choose another out"):
                embed(run, given, out=out, overwrite=True)
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match="is no file"):
        embed(run, data, out=tmp_path / "pipe.npz", overwrite=True)
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is a number of pixels and at least 1"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"workers": -1}, "workers is at least 0"),
        ({"seed": -1}, "seed is at least 0"),
        ({"precision": "16"}, "precision is"),
        ({"devices": "meta"}, "unknown devices"),
        ({"max_bad": 1.5}, "max_bad is"),
        ({"features": "all"}, "features is"),
        ({"channels": -3}, "channels is at least 1"),
        ({"split": ""}, "split is a name and not empty"),
        ({"label": 3}, "label is a name"),
        ({"path_column": ""}, "path_column is a name"),
        ({"pretrained": "yes"}, "pretrained is True or False"),
        ({"overwrite": 1}, "overwrite is True or False"),
        ({"seed": 2**64}, "seed is at most"),
        ({"max_bad": "few"}, "max_bad is"),
        ({"pretrained": True}, "its own: leave it out"),
    ],
)
def test_each_option_is_checked_where_it_enters(run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        embed(run, tmp_path / "no data", out=tmp_path / "x.npz", **options)


def test_max_bad_and_the_split_that_normalises_a_name(run, folder, tmp_path, capsys):
    with pytest.raises(ValueError, match="raise max_bad"):
        embed(run, folder, out=tmp_path / "x.npz", max_bad=0)
    assert len(np.load(embed(run, folder, out=tmp_path / "x.npz", max_bad=0.5))["index"]) == COUNT - 1
    assert "cannot be read and have no row" in capsys.readouterr().err
    one, all_ = (
        np.load(embed("resnet_slim", folder, out=tmp_path / f"{split}.npz", split=split, image_size=8))
        for split in ("test", None)
    )
    np.testing.assert_allclose(one["features"], all_["features"][all_["split"] == "test"], atol=1e-5)
