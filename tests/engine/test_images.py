import numpy as np
import pandas as pd
import pytest

from selfsight.data import ArraySource
from selfsight.engine.images import divide, stratified_sample


def source(count, size=8, labels=True):
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, 1).repeat(size, 2).repeat(size, 3)
    metadata = pd.DataFrame({"label": np.arange(count) % 4}) if labels else None
    return ArraySource(pixels, metadata, name="tiny", classes=list("abcd") if labels else None)


def values(part):
    return {int(part.read(position)[0, 0, 0]) for position in range(len(part))}


def divided(data, **options):
    return divide(data, **{"split": None, "limit": None, "label": "label", "seed": 0, **options})


def test_a_twentieth_is_held_out_and_not_trained_on():
    images = divided(source(200))
    assert len(images.train) == 190 and len(images.held_out) == 10
    assert values(images.train).isdisjoint(values(images.held_out))
    assert "not trained on" in images.origin


def test_the_validation_split_comes_first_and_the_test_split_never():
    parts = {"train": source(40), "val": source(20), "test": source(30)}
    images = divided(parts)
    assert len(images.train) == 40 and len(images.held_out) == 20 and images.origin == "the validation split"
    assert len(divided({"train": source(200), "test": source(30)}).train) == 190


def test_images_that_limit_leaves_unused():
    images = divided(source(200), limit=150)
    assert len(images.train) == 150 and len(images.held_out) == 50
    assert values(images.train).isdisjoint(values(images.held_out))
    assert values(divided(source(200), limit=100).train) < values(images.train)
    assert values(divided(source(200), limit=150, seed=1).train) != values(images.train)


def test_without_a_monitor_everything_trains():
    images = divided(source(200), hold_out=False)
    assert len(images.train) == 200 and images.held_out is None


def test_too_few_to_hold_out():
    assert divided(source(20)).held_out is None


@pytest.mark.parametrize(("options", "message"), [({"limit": 0}, "at least 1"), ({"split": "val"}, "no split 'val'")])
def test_impossible_wishes(options, message):
    with pytest.raises(ValueError, match=message):
        divided(source(50), **options)


def test_held_out_images_are_named(tmp_path):
    images = divided(source(100))
    images.write_held_out(tmp_path / "held_out.csv")
    table = pd.read_csv(tmp_path / "held_out.csv")
    assert len(table) == 5 and list(table.columns) == ["image", "label"]


def test_some_images_keep_the_shares_of_the_labels():
    labels = stratified_sample(source(200), 40, seed=0).labels
    assert np.bincount(labels).tolist() == [10, 10, 10, 10]
    assert np.bincount(labels[:8]).tolist() == [2, 2, 2, 2]
