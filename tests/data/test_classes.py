"""All parts of a data set have one list of classes."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from selfsight.data import ArraySource, open_source, splits
from selfsight.data.classes import unseen_classes
from selfsight.data.labels import label_values

from .conftest import picture, write

LABELS = {"train": list("abcd"), "test": list("bcdx"), "val": ["c"]}


def array_source(labels, classes=None):
    return ArraySource(np.zeros((len(labels), 1, 4, 4), np.uint8), pd.DataFrame({"label": labels}), classes=classes)


def folders(root):
    for part, names in LABELS.items():
        for name in names:
            write(root / part / name / "1.png", picture(4, 4))
    return {part: root / part for part in LABELS}


def tables(root):
    folders(root)
    for part, names in LABELS.items():
        frame = pd.DataFrame({"path": [f"{part}/{name}/1.png" for name in names], "label": names})
        frame.to_csv(root / f"{part}.csv", index=False)
    return {part: root / f"{part}.csv" for part in LABELS}


def one_table(root):
    frames = [pd.read_csv(path).assign(split=part) for part, path in tables(root).items()]
    pd.concat(frames).to_csv(root / "all.csv", index=False)
    return root / "all.csv"


def one_folder(root):
    folders(root)
    return root


def one_archive(root):
    arrays = {f"{part}_labels": np.array(names) for part, names in LABELS.items()}
    arrays |= {f"{part}_images": np.zeros((len(names), 4, 4), np.uint8) for part, names in LABELS.items()}
    np.savez(root / "all.npz", **arrays)
    return root / "all.npz"


def sources(root):
    return {part: array_source(names) for part, names in LABELS.items()}


def coded_sources(root):
    return {part: array_source(np.arange(len(names)), sorted(names)) for part, names in LABELS.items()}


def mixed(root):
    return {**tables(root), "test": folders(root)["test"], "val": sources(root)["val"]}


@pytest.mark.parametrize(
    "given", [folders, tables, one_table, one_folder, one_archive, sources, coded_sources, mixed],
    ids=lambda given: given.__name__,
)  # fmt: skip
def test_codes_are_alike_in_all_parts(given, tmp_path):
    parts = splits(given(tmp_path))
    assert {tuple(part.classes) for part in parts.values()} == {tuple("abcdx")}
    for name, labels in LABELS.items():
        assert [parts[name].classes[code] for code in parts[name].labels] == labels
        assert label_values(parts[name]).tolist() == labels
    assert open_source(parts, split="val").labels.tolist() == [2]
    assert unseen_classes(parts["train"], parts["test"]) == (
        "classes only in the test part: x (1 images); they count as wrong"
    )
    assert unseen_classes(parts["test"], parts["val"]) is None


def test_what_was_handed_in_stays_as_it_is(tmp_path):
    given = coded_sources(tmp_path)
    before = given["test"].metadata.copy()
    splits(given)
    pd.testing.assert_frame_equal(given["test"].metadata, before)
    assert given["test"].classes == list("bcdx")


def test_a_part_without_labels_stays_without():
    parts = splits({"train": np.zeros((3, 1, 4, 4), np.uint8), "test": array_source(["a", "b"])})
    assert parts["train"].labels is None and parts["test"].classes == ["a", "b"]


def test_a_list_that_holds_all_names_keeps_its_order():
    parts = splits({"train": array_source([0, 1, 2], ["z", "y", "x"]), "test": array_source([1, 0], ["x", "z"])})
    assert parts["test"].classes == ["z", "y", "x"] and parts["test"].labels.tolist() == [0, 2]
    assert parts["train"].labels.tolist() == [0, 1, 2]


def test_codes_without_names_are_positions_or_numbers(caplog):
    parts = splits({"train": array_source([0, 1, 2], ["ant", "bee", "cat"]), "test": array_source([2, -1, 1])})
    assert parts["test"].classes == ["ant", "bee", "cat"] and parts["test"].labels.tolist() == [2, -1, 1]
    assert "taken for positions" in caplog.text
    parts = splits({"train": array_source([0, 1, 2], ["5", "10", "20"]), "test": array_source([20, -1, 5])})
    assert parts["test"].labels.tolist() == [2, -1, 0]
    alike = {"train": array_source([0, 4]), "test": array_source([4, 7])}
    assert [part.labels.tolist() for part in splits(alike).values()] == [[0, 4], [4, 7]]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (([0, 1], ["ant", "bee"]), ([2, 0], None)),  # one position too far
        (([0, 1], ["5", "10"]), ([1, 0], None)),  # numbers or positions?
    ],
)
def test_codes_that_cannot_be_told_are_refused(train, test):
    with pytest.raises(ValueError, match=r"labels of the part 'test' are numbers such as .*give all parts names"):
        splits({"train": array_source(*train), "test": array_source(*test)})


def test_numbers_are_judged_in_all_parts_together():
    numbers = np.arange(30)
    for order in itertools.permutations(["train", "val", "test"]):
        given = {"train": array_source(np.repeat(numbers, 3)), "val": array_source(numbers.astype(float))}
        given["test"] = array_source(numbers.astype(float))
        parts = splits({name: given[name] for name in order})
        assert [part.classes for part in parts.values()] == [[str(number) for number in numbers]] * 3
        assert parts["test"].labels.tolist() == numbers.tolist()
    parts = splits({"train": array_source([1.0, 2.0, -1.0]), "test": array_source([0.5, 1.0])})
    assert [part.labels for part in parts.values()] == [None, None]
    np.testing.assert_array_equal(parts["train"].metadata["label"], [1, 2, np.nan])
    with pytest.raises(ValueError, match=r"part 'train' are names such as 'a', and those of 'test' are numbers"):
        splits({"train": array_source(["a", "b"]), "test": array_source([0.5, 1.0])})
