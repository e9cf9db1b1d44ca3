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


def value(records, encoder, protocol="knn", metric="top1"):
    wanted = (encoder, protocol, metric)
    return next(r["value"] for r in records if (r["encoder"], r["protocol"], r["metric"]) == wanted)


def rows_of(records):
    return list(dict.fromkeys(record["encoder"] for record in records))


def test_rows_and_file(run, archive, capsys):
    records = evaluate(run, archive, protocols="knn,ridge", protocol_options={"knn": {"k": 10}})
    rows = dict.fromkeys((record["protocol"], record["encoder"]) for record in records)
    assert list(rows) == [(p, e) for p in ("knn", "ridge") for e in ("trained", "random", "pixels", "chance")]
    metrics = dict.fromkeys(record["metric"] for record in records)
    assert list(metrics) == ["top1", "balanced", "f1", "top5", "auc"]
    assert all((r["n_train"], r["n_test"], r["seed"]) == (COUNT, COUNT, 0) for r in records)
    assert records[0]["options"] == {"k": 10, "temperature": 0.07} and records[0]["settings"] == {"k": 10}
    assert records[20]["settings"]["alpha"] > 0
    assert all(r["low"] <= r["value"] <= r["high"] for r in records)
    assert records[0]["than"] == "random" and records[0]["better_by"][0] == pytest.approx(
        value(records, "trained") - value(records, "random")
    )
    assert json.loads((run / "evaluation.json").read_text()) == records
    table, said = capsys.readouterr()
    assert f"{value(records, 'pixels'):.4f}" in table and "tested on" not in table
    assert "tested on 'test'" in said and "evaluation.json" in said


def test_pixels_and_chance_agree_with_scikit_learn(run, archive, digits):
    images, labels = digits
    records = evaluate(run, archive, protocols=["knn"])
    x = images.reshape(len(images), -1).astype(float)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    reference = KNeighborsClassifier(20, weights=lambda distance: np.exp((1 - distance**2 / 2) / 0.07))
    expected = reference.fit(x[:COUNT], labels[:COUNT]).score(x[COUNT:], labels[COUNT:])
    assert value(records, "pixels") == pytest.approx(expected, abs=0.007)
    guess = np.bincount(labels[:COUNT]).argmax()
    assert value(records, "chance") == pytest.approx((labels[COUNT:] == guess).mean())


def test_linear_names_what_it_chose(run, archive):
    linear = evaluate(run, archive, protocols="linear", baselines=False, limit=100)[0]
    assert linear["settings"]["lr"] > 0 and linear["settings"]["weight_decay"] >= 0
    assert linear["options"]["epochs"] > 0


def test_the_seed_decides(archive):
    first, again, other = (
        evaluate("resnet_slim", archive, protocols="ridge", image_size=16, limit=100, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert [r["value"] for r in first] != [r["value"] for r in other]


def test_a_name_without_weights_is_the_random_row_alone(archive, capsys):
    records = evaluate("resnet_slim", archive, protocols="knn", image_size=16, limit=50)
    assert rows_of(records) == ["random", "pixels", "chance"]
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
    with pytest.raises(ValueError, match="at least two classes are wanted and the training images have '1' alone"):
        evaluate(run, tmp_path / "alike.npz", protocols="knn")
    with pytest.raises(ValueError, match="no protocol 'kn': did you mean 'knn'"):
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
    assert [value(records, "pixels", name) for name in ("knn", "ridge", "linear")] == [0.75] * 3


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
    records = evaluate("resnet_slim", tmp_path / "long.csv", protocols="knn", protocol_options={"knn": {"k": 1}})
    assert (records[0]["n_train"], records[0]["n_test"]) == (320, 80)
    assert value(records, "pixels") < 0.8  # 1.0 where every test image is learned from, too


def test_results_on_other_data_lie_side_by_side(run, archive, digits, tmp_path):
    images, labels = digits
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    first = evaluate(run, archive, protocols="knn", baselines=False)
    second = evaluate(run, tmp_path / "other.npz", protocols="knn", baselines=False)
    again = evaluate(run, archive, protocols="knn", baselines=False)
    assert json.loads((run / "evaluation.json").read_text()) == [*first, *second] and first == again
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
        ({"protocol_options": {"knn": {"k": 0}}}, "k is at least 1"),
        ({"protocol_options": {"knn": {"temperature": 0}}}, "temperature is above 0"),
        ({"protocol_options": {"knn": {"temperature": True}}}, "temperature is above 0"),
        ({"protocol_options": {"knn": {"kk": 5}}}, "knn has no option 'kk': did you mean 'k'"),
        ({"protocol_options": {"knn": 5}}, "protocol_options of 'knn' are"),
        ({"protocol_options": {"knn": {"k": 5}}, "protocols": "ridge"}, "k is of knn"),
        ({"folds": 1}, "folds is at least 2"),
        ({"folds": 2, "leave_out": "site"}, "both say what is tested on"),
        ({"leave_out": ""}, "leave_out is a name"),
        ({"leave_out": "site", "test_split": "test"}, "test_split names what is tested on"),
        ({"pool": "max"}, "pool is cls, mean or cls"),
        ({"layer": "first"}, "layer is a number such as -1"),
        ({"layer": [0.5]}, "layer is a number such as -1"),
        ({"image_size": -5}, "image_size is a number of pixels and at least 1"),
        ({"limit": 0}, "limit is at least 1"),
        ({"seed": -1}, "seed is at least 0"),
        ({"protocols": [object()]}, "protocols are names"),
        ({"pretrained": True}, "its own: leave it out"),
        ({"overwrite": 1}, "overwrite is True or False"),
        ({"baselines": "yes"}, "baselines is True or False"),
        ({"channels": 0}, "channels is at least 1"),
        ({"channels": "rgb"}, "channels is a whole number"),
        ({"label": ""}, "label is a name and not empty"),
        ({"path_column": 3}, "path_column is a name"),
        ({"test_split": ""}, "test_split is a name"),
        ({"group": 3}, "group is a name"),
        ({"seed": 2**64}, "seed is at most"),
        ({"seed": [0, -1]}, "seed is at least 0"),
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
    assert rows_of(evaluate(loaded, archive, protocols="knn")) == ["trained", "pixels", "chance"]
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


@pytest.fixture
def table(digits, tmp_path):
    """Images on disk with a class, a number and the patient and the site that they are of, all in one part."""
    images, labels = digits
    lines = ["path,label,shade,patient,site"]
    for number, (image, label) in enumerate(zip(images[:120], labels[:120] % 3, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{label},{image.mean():.2f},p{number // 4},{'abc'[number // 4 % 3]}")
    (tmp_path / "scans.csv").write_text("\n".join(lines))
    return tmp_path / "scans.csv"


def test_folds_test_every_image_once_and_never_what_is_learned_from(table, monkeypatch):
    from selfsight.data import splits
    from selfsight.probes.store import origin
    from selfsight.probes.trials import divide

    sides, _ = divide(splits(table), folds=4, group="patient")
    tested = np.concatenate([origin(test)[1] for _, test in sides])
    assert sorted(tested) == list(range(120))
    for train, test in sides:
        assert set(train.metadata["patient"]).isdisjoint(test.metadata["patient"])
    records = evaluate("resnet_slim", table, protocols="ridge", folds=4, group="patient", seed=3)
    assert records[0]["interval"] == "folds" and (records[0]["n_train"], records[0]["n_test"]) == (90, 120)


def test_images_that_are_equal_are_in_one_fold(tmp_path):
    from selfsight.data import splits
    from selfsight.probes.trials import divide

    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "twice.npz", images=np.concatenate([images, images]), labels=np.arange(60) % 3)
    for train, test in divide(splits(tmp_path / "twice.npz"), folds=3)[0]:
        ours, theirs = ({part.read(i).numpy().tobytes() for i in range(len(part))} for part in (train, test))
        assert ours.isdisjoint(theirs)


def test_each_site_is_left_out_in_turn(table):
    from selfsight.data import splits
    from selfsight.probes.trials import divide

    sides, _ = divide(splits(table), leave_out="site")
    assert [set(test.metadata["site"]) for _, test in sides] == [{"a"}, {"b"}, {"c"}]
    assert all(set(train.metadata["site"]).isdisjoint(test.metadata["site"]) for train, test in sides)
    records = evaluate("resnet_slim", table, protocols="ridge", leave_out="site")
    assert records[0]["interval"] == "folds" and records[0]["n_test"] == 120
    with pytest.raises(ValueError, match="no 'sites': did you mean 'site'"):
        evaluate("resnet_slim", table, protocols="ridge", leave_out="sites")
    with pytest.raises(ValueError, match="has 71 values for 120 images"):
        evaluate("resnet_slim", table, protocols="ridge", leave_out="shade")


def test_columns_of_numbers_and_of_sites(table, capsys):
    records = evaluate(
        "resnet_slim",
        table,
        protocols="regression,groups,retrieval",
        protocol_options={"regression": {"of": "shade"}, "groups": {"of": "site"}, "retrieval": {"of": "patient"}},
    )
    assert value(records, "pixels", "regression", "r2") > 0.9
    assert value(records, "chance", "groups", "balanced") == pytest.approx(1 / 3)
    assert "regression shade r2" in capsys.readouterr().out


def test_several_encoders_stand_side_by_side(run, archive, tmp_path, capsys):
    torch.manual_seed(9)
    save_encoder(build_encoder("resnet_slim", image_size=8, channels=1), tmp_path / "other")
    records = evaluate([run, tmp_path / "other"], archive, protocols="ridge", out=tmp_path / "both.json")
    assert rows_of(records) == ["run", "random", "other", "pixels", "chance"]
    assert {r["than"] for r in records if r["encoder"] in ("run", "other")} == {"random"}
    assert json.loads((tmp_path / "both.json").read_text()) == records and not (run / "evaluation.json").exists()
    alone = evaluate(run, archive, protocols="ridge")
    assert value(alone, "trained", "ridge") == value(records, "run", "ridge")
    assert value(alone, "random", "ridge") == value(records, "random", "ridge")


def test_features_are_read_from_the_cache(run, archive, tmp_path, monkeypatch):
    first = evaluate(run, archive, protocols="knn", cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 6  # three rows, two parts
    with monkeypatch.context() as patch:
        patch.setattr("selfsight.probes.features.extract_features", None)  # nothing is computed
        again = evaluate(run, archive, protocols="knn", cache=tmp_path / "cache", overwrite=True)
        assert again == first
        with pytest.raises(TypeError):
            evaluate(run, archive, protocols="knn", cache=tmp_path / "cache", image_size=16)
    torch.manual_seed(4)
    save_encoder(build_encoder("resnet_slim", image_size=8, channels=1), run)
    other = evaluate(run, archive, protocols="knn", cache=tmp_path / "cache")
    assert value(other, "trained") != value(first, "trained") and value(other, "random") == value(first, "random")


def test_what_was_finished_before_a_stop_is_not_computed_again(run, archive, monkeypatch, capsys):
    from selfsight.protocols.ridge import Ridge

    with monkeypatch.context() as patch:
        patch.setattr(Ridge, "__call__", lambda self, task: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate(run, archive, protocols="knn,ridge")
    kept = json.loads((run / "evaluation.json").read_text())
    assert {record["protocol"] for record in kept} == {"knn"}
    with monkeypatch.context() as patch:
        patch.setattr("selfsight.protocols.knn.KNN.__call__", None)
        records = evaluate(run, archive, protocols="knn,ridge")
    assert [one for one in records if one["protocol"] == "knn"] == kept
    assert "knn: found before" in capsys.readouterr().err


def test_layers_and_pooling(archive, tmp_path):
    torch.manual_seed(0)
    encoder = build_encoder("vit_small_image", image_size=8, channels=1, embed_dim=24, depth=3, patch_size=2)
    each = evaluate(encoder, archive, protocols="ridge", layer="all", pool="mean")
    assert rows_of(each)[:3] == [f"trained layer {number}" for number in range(3)]
    assert {r["than"] for r in each if r["encoder"] == "trained layer 1"} == {"random layer 1"}
    for layer in (-1, "2", [2], "all"):
        records = evaluate(encoder, archive, protocols="ridge", layer=layer, pool="mean", baselines=False)
        row = "trained layer 2" if layer == "all" else "trained"
        assert value(records, row, "ridge") == value(each, "trained layer 2", "ridge")
    both = evaluate(encoder, archive, protocols="ridge", layer="0,2", pool="cls+mean", baselines=False)
    assert value(both, "trained", "ridge") != value(each, "trained layer 2", "ridge")
    with pytest.raises(ValueError, match="layer 3 is none of 'vit_small_image', which has 3: 0 to 2"):
        evaluate(encoder, archive, layer=3)
    maps = build_encoder("resnet_slim", image_size=8, channels=1)
    with pytest.raises(ValueError, match="has no class token: set pool to mean"):
        evaluate(maps, archive, pool="cls")
    assert rows_of(evaluate(maps, archive, protocols="ridge", layer="all", baselines=False))[0] == "trained layer 0"


def test_several_seeds_have_intervals_over_them(archive):
    records = evaluate("resnet_slim", archive, protocols="ridge", seed=[0, 1, 2], baselines=False, limit=100)
    assert records[0]["interval"] == "seeds" and records[0]["low"] < records[0]["value"] < records[0]["high"]
    alone = [
        value(evaluate("resnet_slim", archive, protocols="ridge", seed=seed, limit=100), "random", "ridge")
        for seed in range(3)
    ]
    assert value(records, "random", "ridge") == pytest.approx(np.mean(alone))


OWN = '''
from dataclasses import dataclass
import torch
from selfsight.protocols import Protocol

@dataclass(frozen=True)
class NearestMean(Protocol):
    """The class whose mean is nearest.

    power: of the distance.
    """

    power: float = 2.0

    def __call__(self, task):
        for row, train, test in task.features():
            classes = task.train.unique()
            means = torch.stack([train[task.train == one].mean(dim=0) for one in classes])
            yield task.answer(row, -torch.cdist(test, means) ** self.power, classes)
'''


def test_a_protocol_of_ones_own_by_its_path(run, archive, tmp_path, monkeypatch, capsys):
    from selfsight import cli

    (tmp_path / "nearest.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--protocols", "knn,nearest.NearestMean", "--nearest.NearestMean.power", "1", "--knn.k", "5"]
    assert cli.main(["evaluate", str(run), str(archive), *options]) == 0
    records = json.loads((run / "evaluation.json").read_text())
    assert value(records, "pixels", "nearest.NearestMean") > 0.7
    assert {r["protocol"]: r["options"] for r in records} == {
        "knn": {"k": 5, "temperature": 0.07},
        "nearest.NearestMean": {"power": 1.0},
    }
    from nearest import NearestMean

    assert value(evaluate(run, archive, protocols=NearestMean(1.0)), "pixels", "nearest.NearestMean") > 0.7
    capsys.readouterr()
    for wrong, said in (
        (["--knn.kk", "5"], "--knn.kk: did you mean --knn.k?"),
        (["--knn.k", "many"], "--knn.k"),
        (["--kn.k", "5"], "unknown option --kn.k: did you mean --knn.?"),
        (["--protocols", "ridge", "--knn.k", "5"], "k is of knn"),
    ):
        assert cli.main(["evaluate", str(run), str(archive), *wrong]) == 2
        assert said in capsys.readouterr().err


def test_several_runs_on_the_shell(run, archive, tmp_path, capsys):
    from selfsight import cli

    save_encoder(build_encoder("resnet_slim", image_size=8, channels=1), tmp_path / "b")
    words = ["evaluate", str(run), str(tmp_path / "b"), str(archive), "--protocols", "ridge"]
    assert cli.main([*words, "--seed", "0,1"]) == 0
    table = capsys.readouterr().out
    assert "run above random" in table and "b above random" in table and "over seeds" in table
