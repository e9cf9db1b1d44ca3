from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight.data import ArraySource, encode_labels, identity, numeric_metadata, split_at_random, subset


def labelled(labels, **columns):
    metadata = pd.DataFrame({"label": np.asarray(labels), **columns})
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None].expand(-1, 2, 2)
    return ArraySource(images, metadata, classes=sorted({str(label) for label in labels}))


@pytest.mark.parametrize(
    ("values", "codes", "classes"),
    [
        (["b", "a", None, "b"], [1, 0, -1, 1], ["a", "b"]),
        ([3, 1, 3], [1, 0, 1], ["1", "3"]),
        ([2.0, np.nan, 10.0], [0, -1, 1], ["2", "10"]),
        ([True, False], [1, 0], ["False", "True"]),
        (np.array([[5], [4]], dtype=np.uint8), [1, 0], ["4", "5"]),
        (pd.Series(["x", None], dtype="string"), [0, -1], ["x"]),
    ],
)
def test_labels_of_any_type_become_codes(values, codes, classes):
    found, names = encode_labels(values)
    assert found.dtype == np.int64
    assert (found.tolist(), names) == (codes, classes)


def test_numeric_metadata_has_types():
    source = labelled([0, 1, 1], age=[30.5, np.nan, 20], site=["x", "y", "x"], left=[True, False, True])
    columns = numeric_metadata(source)
    assert set(columns) == {"label", "age", "left"}
    assert columns["label"].dtype == columns["left"].dtype == torch.int64
    assert columns["age"].dtype == torch.float32
    assert torch.isnan(columns["age"]).tolist() == [False, True, False]


def test_subset_renumbers():
    part = subset(subset(labelled([0, 1, 0, 1, 1]), [4, 2, 1]), [2, 0])
    assert [int(part.read(i)[0, 0, 0]) for i in range(len(part))] == [1, 4]
    assert part.labels.tolist() == [1, 1]
    assert part.describe(1) == "array[4]"


def test_random_split_is_stratified_seeded_and_complete():
    source = labelled([0] * 80 + [1] * 20)
    rest, held = split_at_random(source, 0.2, seed=3)
    assert np.bincount(held.labels).tolist() == [16, 4]
    assert sorted([*rest.indices, *held.indices]) == list(range(100))
    assert split_at_random(source, 0.2, seed=3)[1].indices.tolist() == held.indices.tolist()
    assert split_at_random(source, 0.2, seed=4)[1].indices.tolist() != held.indices.tolist()


def test_random_split_of_lone_labels_and_of_too_little():
    assert len(split_at_random(labelled([0, 1, 1, 2]), 0.5, 0)[1]) == 2
    with pytest.raises(ValueError, match="cannot hold out 1% of 4 images"):
        split_at_random(labelled([0, 1, 1, 2]), 0.01, 0)


def paths_in(folder, names, labels=None):
    columns = {"path": [f"{folder}/{name}" for name in names]} | ({} if labels is None else {"label": labels})
    return ArraySource(np.zeros((len(names), 3, 8, 8), np.uint8), pd.DataFrame(columns))


def test_identity_is_of_names_order_and_labels_and_not_of_the_place():
    names = ["cat/1.png", "cow/1.png", "cow/2.png"]
    known = identity(paths_in("/data/animals", names, [0, 1, 1]))
    assert identity(paths_in("moved", names, [0, 1, 1])) == known
    others = [
        paths_in("/data/animals", names[::-1], [0, 1, 1]),
        paths_in("/data/animals", [*names[:2], "cow/3.png"], [0, 1, 1]),
        paths_in("/data/animals", names, [0, 0, 1]),
        paths_in("/data/animals", names[:2], [0, 1]),
    ]
    assert len({known, *map(identity, others)}) == 5


def test_identity_without_names_is_of_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)).astype(np.uint8)
    assert identity(ArraySource(pixels)) == identity(ArraySource(pixels.copy())) != identity(ArraySource(pixels[::-1]))
