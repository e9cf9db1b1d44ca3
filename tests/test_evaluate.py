"""`evaluate` on handwritten digits: its rows, its splits, what it writes and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from selfsight.evaluate import evaluate
from selfsight.nets import as_encoder, build_encoder, load_encoder, save_encoder
from selfsight.probes.subjects import channels_for

COUNT = 300


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return (images[: 2 * COUNT] * 15).astype(np.uint8).reshape(-1, 8, 8), labels[: 2 * COUNT]


@pytest.fixture(scope="module")
def archive(digits, tmp_path_factory):
    """Half to train, half to test."""
    images, labels = digits
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(
        path,
        train_images=images[:COUNT],
        train_labels=labels[:COUNT],
        test_images=images[COUNT:],
        test_labels=labels[COUNT:],
    )
    return path


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(3)
    encoder = build_encoder("resnet_slim", image_size=8, channels=1)
    save_encoder(encoder, tmp_path / "run")
    return tmp_path / "run"


def top1(records, encoder, protocol="knn"):
    return next(r["top1"] for r in records if r["encoder"] == encoder and r["protocol"] == protocol)


def test_rows_and_file(run, archive, capsys):
    records = evaluate(run, archive, protocols="knn,ridge", k=10)
    rows = [(record["protocol"], record["encoder"]) for record in records]
    assert rows == [(p, e) for p in ("knn", "ridge") for e in ("trained", "random", "pixels", "chance")]
    assert all((r["n_train"], r["n_test"], r["seed"]) == (COUNT, COUNT, 0) for r in records)
    assert (records[0]["k"], records[0]["temperature"]) == (10, 0.07) and records[4]["alpha"] > 0
    assert json.loads((run / "evaluation.json").read_text()) == records
    table, said = capsys.readouterr()
    assert f"{top1(records, 'pixels'):.4f}" in table and "tested on" not in table
    assert "tested on 'test'" in said and "evaluation.json" in said


def test_pixels_and_chance_agree_with_scikit_learn(run, archive, digits):
    images, labels = digits
    records = evaluate(run, archive, protocols=["knn"])
    x = images.reshape(len(images), -1).astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    reference = KNeighborsClassifier(20, weights=lambda distance: np.exp((1 - distance**2 / 2) / 0.07))
    expected = reference.fit(x[:COUNT], labels[:COUNT]).score(x[COUNT:], labels[COUNT:])
    assert top1(records, "pixels") == pytest.approx(expected, abs=0.007)
    guess = np.bincount(labels[:COUNT]).argmax()
    assert top1(records, "chance") == pytest.approx((labels[COUNT:] == guess).mean())


def test_linear_names_what_it_chose(run, archive):
    (linear, _) = evaluate(run, archive, protocols="linear", baselines=False, limit=100)
    assert linear["lr"] > 0 and linear["weight_decay"] >= 0 and linear["epochs"] > 0


def test_the_seed_decides(archive):
    first, again, other = (
        evaluate("resnet_slim", archive, protocols="ridge", image_size=16, limit=100, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert [r["top1"] for r in first] != [r["top1"] for r in other]


def test_a_name_without_weights_is_the_random_row_alone(archive, capsys):
    records = evaluate("resnet_slim", archive, protocols="knn", image_size=16, limit=50)
    assert [record["encoder"] for record in records] == ["random", "pixels", "chance"]
    assert "name without weights" in capsys.readouterr().err


def test_without_a_split_a_fifth_is_held_out(run, digits, tmp_path, capsys):
    images, labels = digits
    np.savez(tmp_path / "all.npz", images=images, labels=labels)
    records = evaluate(run, tmp_path / "all.npz", protocols="knn", baselines=False)
    assert (records[0]["n_train"], records[0]["n_test"]) == (480, 120)
    assert "20%" in capsys.readouterr().err


def test_out_names_the_file(archive, tmp_path, capsys):
    records = evaluate(
        "resnet_slim", archive, protocols="knn", image_size=16, limit=50, out=tmp_path / "new" / "e.json"
    )
    assert json.loads((tmp_path / "new" / "e.json").read_text()) == records


def test_broken_and_unlabelled_images_are_left_out(run, digits, tmp_path, capsys):
    images, labels = digits
    lines = ["path,label"]
    for number, (image, label) in enumerate(zip(images[:40], labels[:40] % 2, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'' if number == 5 else label}")
    (tmp_path / "7.png").write_bytes(b"no image")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    records = evaluate(run, tmp_path / "table.csv", protocols="knn", baselines=False)
    assert records[0]["n_train"] + records[0]["n_test"] == 38
    said = capsys.readouterr().err
    assert "no label" in said and "cannot be read" in said


def test_bad_input(run, digits, tmp_path):
    images, _ = digits
    np.savez(tmp_path / "unlabelled.npz", images=images)
    np.savez(tmp_path / "alike.npz", images=images, labels=np.ones(len(images), dtype=int))
    with pytest.raises(ValueError, match="label="):
        evaluate(run, tmp_path / "unlabelled.npz")
    with pytest.raises(ValueError, match="two classes"):
        evaluate(run, tmp_path / "alike.npz", protocols="knn")
    with pytest.raises(ValueError, match="unknown protocol 'kn': did you mean 'knn'"):
        evaluate(run, "digits", protocols="kn")
    with pytest.raises(ValueError, match="no split 'val'"):
        evaluate(run, tmp_path / "alike.npz", test_split="val")
    with pytest.raises(ValueError, match="no encoder at"):
        evaluate(tmp_path / "nowhere", "digits")


def colours(root, part, names):
    """Ten images of each colour, a folder a colour."""
    for name in names:
        (root / part / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), name).save(root / part / name / f"{number}.png")
    return root / part


def test_parts_of_different_classes_share_one_list(tmp_path, capsys):
    parts = {
        "train": colours(tmp_path, "train", ["blue", "lime", "red", "yellow"]),
        "test": colours(tmp_path, "test", ["lime", "red", "white", "yellow"]),
    }
    records = evaluate("resnet_slim", parts, protocols="knn,ridge,linear")
    assert "classes only in the test part: white (10 images); they count as wrong" in "".join(capsys.readouterr())
    assert [top1(records, "pixels", name) for name in ("knn", "ridge", "linear")] == [0.75] * 3


def test_numbers_on_a_scale_are_no_classes(tmp_path):
    for name, values in (("scale", [20 + 0.37 * row for row in range(30)]), ("own", range(30))):
        rows = [f"red/{row % 10}.png,{value}" for row, value in enumerate(values)]
        (tmp_path / f"{name}.csv").write_text("path,age\n" + "\n".join(rows))
    colours(tmp_path, ".", ["red"])
    with pytest.raises(
        ValueError, match=r"labels of .*scale.csv are numbers on a scale, such as 20.37, and no classes"
    ):
        evaluate("resnet_slim", tmp_path / "scale.csv", protocols="ridge", label="age")
    with pytest.raises(ValueError, match=r"differ from image to image \(\d+ values for \d+ images\), and no classes"):
        evaluate("resnet_slim", tmp_path / "own.csv", protocols="ridge", label="age")


def test_ages_that_several_images_share_are_not_silently_classes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(90):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{number}.png")
    rows = [f"{row}.png,{20 + row % 30}" for row in range(90)]
    (tmp_path / "ages.csv").write_text("path,age\n" + "\n".join(rows))
    evaluate("resnet_slim", tmp_path / "ages.csv", protocols="ridge", label="age")
    assert "30 different whole numbers, 20 to 49, are taken for classes" in "".join(capsys.readouterr())


def test_a_table_that_lists_files_more_than_once_does_not_leak(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(100):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{rng.integers(2)}")
    (tmp_path / "long.csv").write_text("path,label\n" + "\n".join(rows * 4))
    records = evaluate("resnet_slim", tmp_path / "long.csv", protocols="knn", k=1)
    assert (records[0]["n_train"], records[0]["n_test"]) == (320, 80)
    assert top1(records, "pixels") < 0.8  # 1.0 where every test image is learned from, too


def test_results_on_other_data_lie_side_by_side(run, archive, digits, tmp_path):
    images, labels = digits
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    first = evaluate(run, archive, protocols="knn", baselines=False)
    second = evaluate(run, tmp_path / "other.npz", protocols="knn", baselines=False)
    again = evaluate(run, archive, protocols="knn", baselines=False)
    assert json.loads((run / "evaluation.json").read_text()) == [*second, *again] and first == again
    (run / "evaluation.json").write_text("mine")
    with pytest.raises(ValueError, match="holds no results of evaluate"):
        evaluate(run, archive, protocols="knn")
    assert (run / "evaluation.json").read_text() == "mine"
    (tmp_path / "e.json").write_text("mine")
    with pytest.raises(ValueError, match="set overwrite"):
        evaluate(run, archive, protocols="knn", out=tmp_path / "e.json")


def test_overwrite_replaces_nothing_but_results(run, archive, tmp_path):
    (tmp_path / "t.csv").write_text("path,label\na.png,a\n")
    for out in (archive, tmp_path / "t.csv", run / "encoder.safetensors", run / "encoder.json"):
        before = out.read_bytes()
        with pytest.raises(ValueError, match="holds no results of evaluate"):
            evaluate(run, archive, protocols="knn", out=out, overwrite=True)
        assert out.read_bytes() == before
    for _ in range(2):
        evaluate(run, archive, protocols="knn", out=tmp_path / "e.json", overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is at least 1"),
        ({"temperature": 0}, "temperature is above 0"),
        ({"k": 5, "protocols": "ridge"}, "k is of knn"),
        ({"temperature": 0.1, "protocols": "linear"}, "temperature is of knn"),
        ({"image_size": -5}, "image_size is a number of pixels and at least 1"),
        ({"limit": 0}, "limit is at least 1"),
        ({"seed": -1}, "seed is at least 0"),
        ({"protocols": [object()]}, "protocols are names"),
        ({"pretrained": True}, "its own: leave it out"),
        ({"overwrite": True}, "none is named"),
        ({"overwrite": 1}, "overwrite is True or False"),
        ({"baselines": "yes"}, "baselines is True or False"),
        ({"channels": 0}, "channels is at least 1"),
        ({"channels": "rgb"}, "channels is a whole number"),
        ({"label": ""}, "label is a name and not empty"),
        ({"path_column": 3}, "path_column is a name"),
        ({"test_split": ""}, "test_split is a name"),
        ({"group": 3}, "group is a name"),
        ({"temperature": True}, "temperature is above 0"),
        ({"seed": 2**64}, "seed is at most"),
        ({"max_bad": "few"}, "max_bad is"),
    ],
)
def test_each_option_is_checked_where_it_enters(run, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        evaluate(run, tmp_path / "no data", **options)


def test_an_own_module_keeps_its_spec_by_the_advice_of_the_error(archive, tmp_path):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16))

    encoder = as_encoder(net(), image_size=8, channels=1)
    encoder.spec = replace(encoder.spec, mean=(0.3,), std=(0.2,), value_range=(0.0, 255.0))
    save_encoder(encoder, tmp_path / "own")
    with pytest.raises(ValueError, match="load_encoder"):
        evaluate(tmp_path / "own", archive)
    with pytest.raises(ValueError, match="as_encoder"):
        evaluate(net(), archive)
    loaded = load_encoder(tmp_path / "own", module=net())
    assert loaded.spec == encoder.spec
    rows = [record["encoder"] for record in evaluate(loaded, archive, protocols="knn")]
    assert rows == ["trained", "pixels", "chance"]
    with pytest.raises(ValueError, match="of another shape"):
        load_encoder(tmp_path / "own", module=nn.Sequential(nn.Flatten(), nn.Linear(64, 8)))


def test_channels_of_a_pretrained_name_and_of_encoders():
    assert channels_for("resnet18", pretrained=True) == 3 and channels_for("resnet18") is None
    assert channels_for("resnet18", pretrained=True, asked=1) == channels_for("resnet18", asked=1) == 1
    with pytest.raises(ValueError, match="takes images of 1 channels"):
        channels_for(build_encoder("resnet_slim", image_size=8, channels=1), asked=3)


@pytest.mark.parametrize(("shape", "channels"), [((8, 8), 3), ((8, 8, 3), 4), ((8, 8, 3), 1), ((5, 8, 8), 3)])
def test_what_an_encoder_cannot_take_is_refused_without_advice_that_evaluate_refuses(shape, channels):
    encoder = build_encoder("resnet_slim", image_size=8, channels=channels)
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    with pytest.raises(ValueError, match=f"{channels} channels") as raised:
        evaluate(encoder, (images, [0, 1] * 10))
    assert "channels=8" not in str(raised.value) and "leave" not in str(raised.value)
