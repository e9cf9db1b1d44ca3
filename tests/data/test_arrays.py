from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from selfsight.data import ArraySource, digits, mean_and_std, open_source, splits
from selfsight.data.arrays import channel_axis


@pytest.mark.parametrize(
    ("shape", "channels", "axis"),
    [
        ((32, 32), None, None),
        ((3, 32, 32), None, 0),
        ((32, 32, 3), None, -1),
        ((64, 64, 64), None, None),
        ((1, 64, 64, 64), None, 0),
        ((64, 64, 64, 2), None, -1),
        ((12, 32, 32), 12, 0),
        ((32, 32, 12), 12, -1),
        ((4, 64, 64), 1, None),
        ((3, 500, 2), None, 0),
        ((2, 500, 3), None, -1),
        ((155, 240, 240), None, None),
        ((13, 32, 32), 13, 0),
        ((13, 32, 32), 1, None),
        ((5, 24, 24, 24), 5, 0),
    ],
)
def test_channel_axis(shape, channels, axis):
    assert channel_axis(shape, channels) == axis


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((8, 16, 16, 16), None),
        ((8, 32, 32), 3),
        ((13, 32, 32), None),
        ((13, 16, 16), None),
        ((64, 64, 13), None),
        ((3, 32, 3), None),
        ((32, 32), 3),
    ],
)
def test_unclear_channels_ask_for_the_number(shape, channels):
    with pytest.raises(ValueError, match="channels"):
        channel_axis(shape, channels)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_layouts_read_alike(kind):
    first = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 9), dtype=np.uint8)
    last = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    for array in (first, last):
        source = open_source(kind(array))
        assert (source.channels, source.value_range) == (3, (0.0, 255.0))
        for i in range(5):
            np.testing.assert_array_equal(source.read(i).numpy(), first[i])
        np.testing.assert_array_equal(source.dense().numpy(), first)


@pytest.mark.parametrize(
    ("array", "value_range"),
    [
        (np.zeros((2, 4, 4), np.uint16), (0.0, 65535.0)),
        (np.zeros((2, 4, 4), bool), (0.0, 1.0)),
        (np.full((2, 4, 4), 0.5, np.float32), (0.0, 1.0)),
        (np.arange(32, dtype=np.int16).reshape(2, 4, 4) - 9, (-9.0, 22.0)),
        (np.full((2, 4, 4), 7.0, np.float32), (7.0, 8.0)),
    ],
)
def test_value_ranges(array, value_range):
    assert ArraySource(array).value_range == value_range


def test_arrays_that_are_no_images():
    with pytest.raises(ValueError, match="expected at least one image"):
        open_source(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        open_source(np.full((2, 4, 4), np.nan, np.float32))
    with pytest.raises(ValueError, match="are not images"):
        open_source(np.zeros((2, 4, 4), complex))


def test_big_endian_and_read_only_arrays():
    array = np.arange(32, dtype=">u2").reshape(2, 4, 4)
    array.flags.writeable = False
    assert open_source(array).read(1)[0].tolist() == array[1].tolist()


def test_npy_is_mapped_and_never_unpickled(tmp_path):
    array = np.random.default_rng(0).random((6, 8, 8, 3), dtype=np.float32)
    np.save(tmp_path / "images.npy", array)
    source = open_source(tmp_path / "images.npy")
    assert isinstance(source.images, np.memmap)
    assert source.dense() is None
    np.testing.assert_array_equal(source.read(3).permute(1, 2, 0).numpy(), array[3])
    np.save(tmp_path / "unsafe.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for name in ("unsafe.npy", "cut.npz"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as an array"):
            open_source(tmp_path / name)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("x", "y")])
def test_npz_without_splits(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", **{images: np.zeros((3, 4, 4), np.uint8), labels: ["p", "q", "p"]})
    source = open_source(tmp_path / "a.npz")
    assert (source.labels.tolist(), source.classes) == ([0, 1, 0], ["p", "q"])
    np.savez(tmp_path / "b.npz", pictures=np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match="has no 'images', 'train_images' or 'x' but pictures"):
        open_source(tmp_path / "b.npz")


def test_npz_splits_share_codes_and_several_labels_are_metadata(tmp_path):
    images = np.zeros((2, 4, 4), np.uint8)
    np.savez(
        tmp_path / "a.npz", train_images=images, train_labels=[[5], [9]], test_images=images, test_labels=[[9], [9]]
    )
    parts = splits(tmp_path / "a.npz")
    assert {name: part.labels.tolist() for name, part in parts.items()} == {"train": [0, 1], "test": [1, 1]}
    np.savez(tmp_path / "b.npz", images=images, labels=[[0, 1], [1, 1]])
    source = open_source(tmp_path / "b.npz")
    assert source.labels is None
    assert source.metadata["label_1"].tolist() == [1, 1]


def test_medmnist_archive(real_data):
    parts = splits(real_data / "pneumoniamnist_reconstructed.npz")
    assert {name: len(part) for name, part in parts.items()} == {"train": 4708, "val": 524, "test": 624}
    assert parts["test"].read(0).shape == (1, 28, 28)
    assert parts["train"].classes == ["0", "1"]


def test_volumes_of_medmnist(real_data):
    source = open_source(real_data / "adrenalmnist3d_64.npz", split="val")
    assert source.read(3).shape == (1, 64, 64, 64)
    assert source.read(3, 32).shape == (1, 32, 32, 32)


def test_digits_are_scikit_learns():
    source = digits()
    assert (len(source), source.channels, source.value_range, len(source.classes)) == (1797, 1, (0.0, 16.0), 10)
    bundle = load_digits()
    np.testing.assert_array_equal(source.read(123)[0].numpy(), bundle.images[123])
    assert source.labels.tolist() == bundle.target.tolist()
    mean, std = mean_and_std(source)
    np.testing.assert_allclose([mean[0], std[0]], [bundle.images.mean() / 16, bundle.images.std() / 16], rtol=1e-6)


@pytest.mark.parametrize("held", ["npy", "npz", "memory"])
def test_one_image_in_colour_is_not_many_grey_ones(held, tmp_path):
    image = np.zeros((9, 8, 3), np.uint8)
    data = image if held == "memory" else tmp_path / f"a.{held}"
    if held == "npy":
        np.save(data, image)
    elif held == "npz":
        np.savez(data, images=image)
    with pytest.raises(ValueError, match=r"shape \(9, 8, 3\), as one image in colour"):
        open_source(data)


@pytest.mark.parametrize("contents", ["zip", "number", "text", "header"])
def test_what_numpy_reads_and_is_no_array(contents, tmp_path):
    path = tmp_path / ("a.npy" if contents in ("zip", "header") else "a.npz")
    if contents == "header":  # of which Python's tokenizer finds no end
        path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 117 + b"\n" + bytes(90))
    elif contents == "text":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", "no array")
    else:
        with path.open("wb") as file:
            np.savez(file, images=np.array(3))
    with pytest.raises(ValueError, match=path.name):
        open_source(path)
