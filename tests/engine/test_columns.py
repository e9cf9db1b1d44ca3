"""Columns that a run reads: unfit ones are named before it starts, with what to do."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight import cli
from selfsight.data import ArraySource, numeric_metadata, open_source
from selfsight.engine.columns import check_columns
from selfsight.engine.images import Images
from selfsight.methods import find_method
from selfsight.methods.base import Method, Wants
from selfsight.nets import build_encoder

COUNT = 12
GOOD = {
    "label": np.arange(COUNT) % 3,
    "age": np.linspace(20, 40, COUNT),
    "sex": np.arange(COUNT) % 2,
    "site": ["Lyon", "Oslo", None, "Bonn"] * 3,
}


class Plain(Method):
    def __init__(self):
        torch.nn.Module.__init__(self)


class Supervised(Plain):
    wants = Wants(views=2, or_more=True, label=True)


class Aged(Plain):
    wants = Wants(views=2, or_more=True, columns=("age",))


def images(**columns):
    known = {name: column for name, column in {**GOOD, **columns}.items() if column is not None}
    pixels = np.zeros((COUNT, 3, 8, 8), dtype=np.uint8)
    return Images(ArraySource(pixels, pd.DataFrame(known), name="tiny"), None, "")


def test_good_columns_pass_and_stay_as_they_are():
    given = images()
    for method in (Plain(), Supervised(), Aged()):
        assert check_columns(given, method) is given
    assert check_columns(images(label=None, age=None), Plain()).held_out is None


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "Supervised learns from labels and tiny has none: put each class"),
        (np.full(COUNT, -1), "none of the 12 images has one.*label="),
        (np.where(np.arange(COUNT) < 5, -1, 2), "has a single one, '2'.*label="),
    ],
)
def test_labels_where_they_are_needed(label, message):
    with pytest.raises(ValueError, match=message):
        check_columns(images(label=label), Supervised())
    with pytest.raises(ValueError, match=r"debias compares|none of the|single one"):
        check_columns(images(label=label), Plain(), "site")
    check_columns(images(label=label), Plain())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": None, "ages": GOOD["age"]}, "column 'age' and tiny has none: did you mean 'ages'.*columns="),
        ({"age": [20] * 11 + ["forty"]}, r"holds 'forty' \(tiny\[11\]\).*leave it empty.*columns="),
        ({"age": [str(value) for value in GOOD["age"]]}, "pandas.to_numeric"),
        ({"age": pd.Series(["young", "old"] * 6, dtype="category")}, "holds 'young'"),
        ({"age": [7.0] * 11 + [np.nan]}, "is 7.0 wherever it is known"),
        ({"age": [np.nan] * COUNT}, "is empty for all 12 images"),
        ({"age": [None] * COUNT}, "is empty for all 12 images"),
        ({"age": [20.0] * 11 + [np.inf]}, r"infinite for tiny\[11\]"),
        ({"age": pd.date_range("2020-01-01", periods=COUNT)}, "holds Timestamp.*write a number"),
    ],
)
def test_columns_that_are_no_numbers(columns, message):
    with pytest.raises(ValueError, match=message):
        check_columns(images(**columns), Aged())


@pytest.mark.parametrize(
    ("debias", "columns", "message"),
    [
        ("sites", {}, "column 'sites' and tiny has none: did you mean 'site'.*debias="),
        ("age", {}, "holds 21.8182, on a scale: bin it"),
        ("age", {"age": np.arange(COUNT)}, "has 12 values for 12 images: bin it"),
        ("site", {"site": ["Lyon"] * 11 + [None]}, "is Lyon wherever it is known"),
        ("site", {"site": [None] * COUNT}, "is empty for all 12 images"),
        ("site", {"site": [f"class {code}" for code in GOOD["label"]]}, "is a class of its own.*debias="),
        ("site", {"label": np.where(np.arange(COUNT) % 4 == 2, np.arange(COUNT) // 4, -1)}, "no image .* has both"),
        ("label", {}, "cannot be learned and be kept out"),
    ],
)
def test_columns_that_are_no_groups(debias, columns, message):
    with pytest.raises(ValueError, match=message):
        check_columns(images(**columns), Plain(), debias)


class Ranked(Plain):
    wants = Wants(views=2, or_more=True, columns=("label",))


def test_names_of_classes_are_no_numbers():
    named = images()
    named.train.classes = ["cat", "dog", "eel"]
    with pytest.raises(ValueError, match=r"Ranked learns from numbers, and the labels of tiny are names such as 'cat'"):
        check_columns(named, Ranked())
    named.train.classes = ["0", "2", "7"]
    assert check_columns(named, Ranked()) is named


@pytest.mark.parametrize("classes", [["0", "2.5", "7"], ["-3", "2", "7"], ["1", "01", "7"]])
def test_classes_whose_numbers_labels_cannot_hold_are_refused(classes):
    named = images()
    named.train.classes = classes
    with pytest.raises(ValueError, match=r"are not all different whole numbers of 0 or more.*columns="):
        check_columns(named, Ranked())


def test_labels_on_a_scale_are_numbers_and_no_classes():
    given = images(label=np.linspace(-2, 2, COUNT))
    assert check_columns(given, Ranked()) is given
    for method, debias in ((Supervised(), None), (Plain(), "site")):
        with pytest.raises(ValueError, match=r"labels of tiny are numbers on a scale.*pandas.cut.*label="):
            check_columns(given, method, debias)
    assert check_columns(given, Plain()) is given


def test_groups_of_minus_one_are_groups():
    coded = check_columns(images(site=[-1, 1, 1] * 4, label=np.arange(COUNT) % 2), Plain(), "site")
    assert coded.train.metadata["site"].tolist() == [0, 1, 1] * 4


def test_labels_that_no_two_images_share_are_warned_of(caplog):
    check_columns(images(label=np.arange(COUNT)), Supervised())
    assert "no two images of tiny share a label" in caplog.text


def test_what_is_learned_is_not_kept_out():
    with pytest.raises(ValueError, match="'age' cannot be learned and be kept out"):
        check_columns(images(), Aged(), "age")


@pytest.mark.parametrize(
    ("site", "codes"),
    [
        (["Lyon", "Oslo", None, "Bonn"] * 3, [1, 2, -1, 0] * 3),
        ([3.0, 1.0, np.nan, 1.0] * 3, [1, 0, -1, 0] * 3),
        ([True, False] * 6, [1, 0] * 6),
        (pd.Series(["b", "a", None] * 4, dtype="category"), [1, 0, -1] * 4),
        ([7, "b", None] * 4, [0, 1, -1] * 4),
    ],
)
def test_groups_become_codes_and_the_users_table_stays(site, codes):
    given = images(site=site, label=np.arange(COUNT) // 4)
    before = given.train.metadata.copy()
    coded = check_columns(given, Aged(), "site")
    assert coded.train.metadata["site"].tolist() == codes
    pd.testing.assert_frame_equal(given.train.metadata, before)
    assert coded.train.dense() is not None and coded.train.labels.tolist() == given.train.labels.tolist()


def test_missing_values_are_counted_in_the_log(caplog):
    label = np.where(np.arange(COUNT) < 2, -1, GOOD["label"])
    age = np.where(np.arange(COUNT) < 5, np.nan, GOOD["age"])
    with caplog.at_level(logging.INFO):
        check_columns(images(label=label, age=age), Aged(), "site")
    said = [record.getMessage() for record in caplog.records]
    for column, count in {"label": 2, "age": 5, "site": 3}.items():
        assert any(text.startswith(f"{count} of {COUNT} training images have no {column}") for text in said)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--method y_aware --method.columns aeg", "did you mean 'age'"),
        ("--method y_aware --method.columns name", "holds 'a'"),
        ("--method simclr --debias stie", "did you mean 'site'"),
        ("--method simclr --debias age", "bin it"),
        ("--method simclr --debias.column site --debias.weight -1", "debias.weight is above 0"),
        ("--method simclr --debias.column site --debias.form mmd", "debias.form"),
        ("--method simclr --debias.weight 3", "no column: name one"),
        ("--method simclr --debias.form moments", "no column: name one"),
        ("--method simclr --method.temperature 0", "temperature is above 0, not 0"),
        ("--method moco_v2 --method.queue -16", "is a whole number of at least 0, not -16"),
        ("--method moco_v2 --method.momentum 2", "momentum is from 0 to 1, not 2"),
        ("--method pirl --method.weight 3", "from 0 to 1, not 3"),
        ("--method y_aware --method.columns NO", "column 'NO'"),
        ("--method y_aware --method.columns inf", "column 'inf'"),
        ("--method simclr --path_column file", "has no column 'file'"),
    ],
)
def test_a_shell_says_it_in_one_line(options, words, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for number in range(8):
        Image.new("RGB", (16, 16), (30 * number, 0, 0)).save(f"{number}.png")
    rows = [f"{number}.png,{number % 2},{number + 0.5},{'ab'[number // 4]},{'abcdefgh'[number]}" for number in range(8)]
    (tmp_path / "table.csv").write_text("path,label,age,site,name\n" + "\n".join(rows))
    command = f"pretrain table.csv {options} --encoder resnet_slim --batch_size 4 --out run --no_monitor --devices cpu"
    assert cli.main(command.split()) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith("selfsight: error: ") and words in shown[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["y_aware", "regression_exp", "regression_thr"])
@pytest.mark.parametrize(
    ("label", "numbers"),
    [
        ([5, 10, 20, 21, 80, -1] * 2, [5, 10, 20, 21, 80, np.nan] * 2),
        (["80", "9", None, "10", "-1", "007"] * 2, [80, 9, np.nan, 10, np.nan, 7] * 2),
        ([-0.5, 2.0, -1.0, np.nan, -3.5, 0.0] * 2, [-0.5, 2, np.nan, np.nan, -3.5, 0] * 2),
    ],
)
def test_methods_of_numbers_read_the_numbers_of_a_label(name, label, numbers):
    source = open_source(images(label=label).train)
    method = find_method(name)(build_encoder("resnet_slim", image_size=8), columns=["label"])
    assert check_columns(Images(source, None, ""), method).train is source
    np.testing.assert_array_equal(method.values(numeric_metadata(source))[:, 0].numpy(), numbers)
