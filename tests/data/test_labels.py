"""What is a number, a class and no label."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from torch.utils.data import Dataset

from selfsight.data import ArraySource, encode_labels, numeric_metadata, open_source
from selfsight.data.labels import (
    class_numbers,
    label_values,
    look_measured,
    missing_classes,
    number_of,
    read_labels,
    sorted_names,
)

PIXELS = np.zeros((6, 3, 4, 4), dtype=np.uint8)


def source(**columns):
    return open_source(ArraySource(PIXELS, pd.DataFrame(columns), name="tiny"))


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        (["None", "NA", "null", "nan", "no", ""], [1, 0, 4, 2, 3, -1], ["NA", "None", "nan", "no", "null"]),
        ([3, -1, 20, 3], [0, -1, 1, 0], ["3", "20"]),
        ([0.0, 1.0, np.nan, -1.0], [0, 1, -1, -1], ["0", "1"]),
        (["10", "9", "-1", None], [1, 0, -1, -1], ["9", "10"]),
        (["10", "9", "x", " x "], [0, 1, 2, 2], ["10", "9", "x"]),
        ([True, False, None], [1, 0, -1], ["False", "True"]),
        (pd.array([10, None, 2], dtype="Int64"), [1, -1, 0], ["2", "10"]),
        (pd.array([True, None, False], dtype="boolean"), [1, -1, 0], ["False", "True"]),
        (pd.array(["b", None, "a"], dtype="string"), [1, -1, 0], ["a", "b"]),
        (pd.Categorical([30, None, 4], categories=[30, 5, 4]), [1, -1, 0], ["4", "30"]),
        ([Decimal("10"), None, Decimal("2.0")], [1, -1, 0], ["2", "10"]),
        ([b"cat", b"-1", b"\xff"], [1, -1, 0], ["\\xff", "cat"]),
        ([2**53 + 1, 2**53 + 2, -1], [0, 1, -1], [str(2**53 + 1), str(2**53 + 2)]),
        ([7, "b", None], [0, 1, -1], ["7", "b"]),
        ([-5, 5, -1], [0, 1, -1], ["-5", "5"]),
    ],
)
def test_classes_and_no_label(values, codes, classes):
    labels = read_labels(pd.Series(values))
    assert (labels.column.tolist(), labels.classes) == (codes, classes)
    assert labels.column.dtype == np.int64


@pytest.mark.parametrize("values", [[0.5, 1, None, -1], [Decimal("0.5"), 1, None, -1.0], [0.5, 1e300, np.nan, -1]])
def test_numbers_between_whole_ones_are_no_classes(values):
    labels = read_labels(pd.Series(values))
    assert labels.classes is None
    np.testing.assert_array_equal(labels.column, [0.5, float(values[1]), np.nan, np.nan])


def test_whole_numbers_are_classes_until_most_images_have_one_of_their_own():
    assert read_labels(np.arange(19)).classes == [str(number) for number in range(19)]
    assert read_labels(np.arange(20)).classes is None
    assert read_labels([*range(20), *range(10)]).classes is not None, "10 of 30 images share no number"
    assert read_labels([*range(20), *[20] * 20]).classes is not None, "half is not more than half"
    assert read_labels([*range(20), *[20] * 19]).classes is None
    assert read_labels([*range(20), *[-1] * 100]).classes is None, "what has no label does not count"


@pytest.mark.parametrize("value", [[1, 2], (1, 2), np.array([1, 2]), {"a": 1}])
def test_several_labels_in_one_are_refused(value):
    with pytest.raises(ValueError, match="is more than one: give each image one"):
        read_labels(pd.Series([value] * 2))


def test_infinite_labels_are_refused():
    with pytest.raises(ValueError, match="infinite"):
        read_labels([1.5, np.inf])


@pytest.mark.parametrize(
    ("word", "number"),
    [("10", 10), ("-2.5", -2.5), ("1e3", 1000), ("007", 7), ("1_0", None), ("nan", None), ("inf", None), ("١", None),
     ("", None), ("1e999", None), ("0x1", None), (" 1", None)],
)  # fmt: skip
def test_numbers_in_words(word, number):
    assert number_of(word) == number


def test_names_that_are_numbers_stand_in_their_order():
    assert sorted_names(["10", "9", "-1.5", "009"]) == ["-1.5", "009", "9", "10"]
    assert sorted_names(["10", "9", "b"]) == ["10", "9", "b"]


@pytest.mark.parametrize(
    ("classes", "numbers"),
    [
        (["5", "10", "007"], [5, 10, 7]), (["1e3", "2.0"], [1000, 2]), (["5", "cat"], None), (["-2", "5"], None),
        (["0.5", "1"], None), (["1", "01"], None), ([], None), (None, None), (["0", str(2**63)], None),
    ],
)  # fmt: skip
def test_numbers_that_classes_are_called_by(classes, numbers):
    found = class_numbers(classes)
    assert (found if found is None else found.tolist()) == numbers


def test_readers_of_numbers_get_the_numbers_and_never_codes():
    known = numeric_metadata(source(label=np.array([80.0, 5, 5, 10, np.nan, -1]), age=[1, 2, 3, 4, 5, 6]))
    assert known["label"].tolist() == [80, 5, 5, 10, -1, -1]
    assert known["age"].tolist() == [1, 2, 3, 4, 5, 6]
    scale = numeric_metadata(source(label=[0.5, 1.5, 2.5, np.nan, -1, -2]))["label"]
    assert scale.is_floating_point() and scale.isnan().tolist() == [False, False, False, True, True, False]
    assert scale[5] == -2
    assert numeric_metadata(source(label=list("abcabc")))["label"].tolist() == [0, 1, 2, 0, 1, 2]
    assert numeric_metadata(source(label=["1", "01", "1", "01", None, "-1"]))["label"].tolist() == [1, 0, 1, 0, -1, -1]


def test_labels_as_they_were_written():
    assert label_values(source(age=range(6))) is None
    assert label_values(source(label=["b", "a", None, "-1", "a", "b"])).tolist() == ["b", "a", None, None, "a", "b"]
    assert label_values(source(label=[3, 3, 7, -1, 7, 7])).isna().tolist() == [False] * 3 + [True] + [False] * 2


def test_why_there_is_nothing_to_learn():
    assert missing_classes(source(label=[0, 1, -1, 0, 1, 1])) is None
    for columns, words in (
        ({"age": range(6)}, "has no labels: use class sub-folders, or name"),
        ({"label": [None, "-1"] * 3}, "none of the 6 images has one"),
        ({"label": [0.5, 1, 2, 3, 4, 5]}, "numbers on a scale, such as 0.5, and no classes.*label="),
    ):
        import re

        assert re.search(words, missing_classes(source(**columns)) or "")


class Items(Dataset):
    def __init__(self, targets, classes):
        self.targets, self.classes = targets, classes

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return PIXELS[0], self.targets[index]


@pytest.mark.parametrize(
    ("targets", "codes", "classes"),
    [
        ([0, 2, -1], [0, 2, -1], ["c", "a", "b"]),  # the last code is that of the last name
        ([0, 3, 1], [0, 2, 1], ["0", "1", "3"]),  # and the next is none
        ([0, 2, -2], [1, 2, 0], ["-2", "0", "2"]),
    ],
)
def test_codes_of_a_dataset_have_names_where_all_of_them_do(targets, codes, classes):
    found = open_source(Items(targets, ["c", "a", "b"]))
    assert (found.labels.tolist(), found.classes) == (codes, classes)


def test_a_column_of_whole_numbers_with_gaps_is_read():
    found = source(label=pd.array([4, 4, None, 9, 9, -1], dtype="Int64"))
    assert (found.labels.tolist(), found.classes) == ([0, 0, -1, 1, 1, -1], ["4", "9"])


def test_values_of_any_array():
    codes, names = encode_labels(np.array([[3], [1], [-1]]))
    assert (codes.tolist(), names) == ([1, 0, -1], ["1", "3"])


@pytest.mark.parametrize(
    ("numbers", "measured"),
    [
        (range(10), False),
        (range(100), False),
        (range(1, 41), False),
        ([3, 20], False),
        (range(18, 38), True),
        ([*range(30), 90], True),
        (range(0, 200, 10), True),
        ([], False),
    ],
)
def test_codes_are_told_from_what_is_measured(numbers, measured):
    assert look_measured(np.array(numbers, dtype=np.int64)) == measured
