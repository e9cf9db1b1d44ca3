"""Nothing is on both sides of a split: equal images, groups, and parts under other names."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight.data import ArraySource, identity, open_source, split_at_random, splits, subset
from selfsight.data.contents import equal_images
from selfsight.data.parts import part_of
from selfsight.data.subsets import hold_out, without_repeats
from selfsight.engine.images import divide
from selfsight.probes.subjects import train_and_test

from .conftest import picture, write


def arrays(count=100, copies=1, **columns):
    """`copies` of each of `count` different images, one after the other."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8).repeat(copies, axis=0)
    metadata = pd.DataFrame({"label": np.arange(count).repeat(copies) % 2, **columns})
    return ArraySource(pixels, metadata, classes=["a", "b"])


def contents(source):
    return {source.read(index).numpy().tobytes() for index in range(len(source))}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("train Train TRAINING training_set train-set trainset train_images train2017 imagesTr", "train"),
        ("val valid Validation dev devel development validation_set val2017", "val"),
        ("test TEST testing test_set testset hold-out held_out eval", "test"),
        ("trainer testudo valley trainA test_1 images bus device 2017", None),
    ],
)
def test_words_for_parts(words, part):
    assert {word: part_of(word) for word in words.split()} == dict.fromkeys(words.split(), part)
    assert part_of(f"  {words.split()[0]} ") == part


def test_equal_files_by_whatever_path_are_found(tmp_path):
    write(tmp_path / "a.png", picture(8, 8, seed=1))
    write(tmp_path / "b.png", picture(8, 8, seed=2))
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "link.png").symlink_to("a.png")
    os.link(tmp_path / "b.png", tmp_path / "hard.png")
    rows = ["a.png", "./a.png", "copy.png", "link.png", "b.png", "hard.png", "missing.png", "missing.png"]
    (tmp_path / "t.csv").write_text("path\n" + "\n".join(rows))
    (numbers,) = equal_images(open_source(tmp_path / "t.csv"))
    assert [numbers.tolist().index(number) for number in numbers] == [0, 0, 0, 0, 4, 4, 6, 7]


def test_only_files_of_one_size_that_agree_in_a_piece_are_read_whole(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", rng.integers(0, 256, (100, 120), dtype=np.uint8))
    np.save(tmp_path / "5.npy", np.load(tmp_path / "4.npy"))
    source, whole = open_source(tmp_path), []
    from selfsight.data import contents as module

    real = module.whole_digest
    monkeypatch.setattr(module, "whole_digest", lambda one: whole.append(one) or real(one))
    (numbers,) = equal_images(source)
    assert len(np.unique(numbers)) == 5
    assert sorted(os.path.basename(one) for one in whole) == ["4.npy", "5.npy"]


def test_identity_sees_the_size_of_every_file(tmp_path):
    for number in range(70):
        write(tmp_path / f"{number:02}.png", picture(4, 4, seed=number))
    before = identity(open_source(tmp_path))
    for number in range(70):
        path = tmp_path / f"{number:02}.png"
        whole = path.read_bytes()
        path.write_bytes(whole + b"more")
        assert identity(open_source(tmp_path)) != before
        path.write_bytes(whole)
    assert identity(open_source(tmp_path)) == before


def test_without_equal_images_a_split_is_as_it_was():
    from sklearn.model_selection import train_test_split

    source = arrays()
    rest, held = split_at_random(source, 0.2, seed=3)
    expected = train_test_split(np.arange(100), test_size=20, random_state=3, stratify=source.labels)
    assert [rest.indices.tolist(), held.indices.tolist()] == [sorted(part.tolist()) for part in expected]
    assert "a stratified 20%" in hold_out(source, 0.2, 0).said


def test_equal_images_stay_on_one_side():
    source = arrays(50, copies=4)
    cut = hold_out(source, 0.2, seed=0)
    assert contents(cut.rest).isdisjoint(contents(cut.held)) and len(cut.rest) + len(cut.held) == 200
    assert len(cut.held) == 40 and "not stratified: 200 images have an equal one" in cut.said
    assert hold_out(source, 0.2, seed=0).held.indices.tolist() == cut.held.indices.tolist()
    with pytest.raises(ValueError, match="100 of them equal one another"):
        split_at_random(subset(source, [0] * 100), 0.2, 0)


def test_stratified_is_said_where_it_is_so():
    lone = arrays()
    lone.metadata.loc[0, "label"] = -1
    assert "not stratified: what has no label has a single image" in hold_out(lone, 0.2, 0).said
    unlabelled = ArraySource(np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
    assert "a random 20% (not stratified: there are no labels)" in hold_out(unlabelled, 0.2, 0).said


def test_groups_stay_on_one_side(caplog):
    source = arrays(patient=[f"p{number // 5}" for number in range(100)])
    train, test, said = train_and_test(splits(source), group="patient")
    assert set(train.metadata["patient"]).isdisjoint(test.metadata["patient"])
    assert len(test) == 20 and "4 whole groups by 'patient' of 20" in said
    images = divide(source, split=None, limit=None, label="label", seed=0, group="patient")
    assert images.held_out is not None
    assert set(images.train.metadata["patient"]).isdisjoint(images.held_out.metadata["patient"])
    missing = arrays(patient=[None] * 50 + ["p"] * 50)
    caplog.set_level("INFO")
    assert len(hold_out(missing, 0.2, 0, "patient").held) == 20
    assert "50 images of array have no patient" in caplog.text
    with pytest.raises(ValueError, match="has no 'patent': did you mean 'patient'"):
        train_and_test(splits(source), group="patent")
    with pytest.raises(ValueError, match="tells no groups apart"):
        train_and_test(splits(arrays(site=["x"] * 100)), group="site")


def test_a_blank_image_of_all_groups_does_not_join_them(caplog):
    source = arrays(patient=[f"p{number // 5}" for number in range(100)])
    source.images[::5] = 0
    cut = hold_out(source, 0.2, 0, "patient")
    assert contents(cut.rest).isdisjoint(contents(cut.held))
    assert (len(cut.rest), len(cut.held)) == (64, 20)
    assert "16 equal test images: left out of training" in caplog.text


def test_parts_that_share_images(caplog):
    source = arrays()
    train, test = subset(source, range(80)), subset(source, range(70, 100))
    left = without_repeats(train, test)
    assert len(left) == 70 and contents(left).isdisjoint(contents(test))
    assert "of 80 training images of array, 10 equal test images: left out of training" in caplog.text
    images = divide({"train": train, "val": test}, split=None, limit=None, label="label", seed=0)
    assert len(images.train) == 80 and len(images.held_out) == 20
    assert "10 equal training images: left out of the monitor" in caplog.text


def test_parts_that_are_the_same_files_are_refused(pictures):
    with pytest.raises(ValueError, match=r"12 equal test images, and nothing is left to learn from"):
        train_and_test(splits({"train": pictures, "test": pictures}))


def test_parts_that_share_groups(caplog):
    parts = {"train": arrays(patient=np.arange(100) // 5), "test": arrays(patient=np.arange(100) // 5 + 15)}
    parts["test"].images = 255 - parts["test"].images
    train, test, _ = train_and_test(splits(parts), group="patient")
    assert set(train.metadata["patient"]).isdisjoint(test.metadata["patient"]) and len(train) == 75
    assert "25 share a value of 'patient' with test images" in caplog.text


def test_folders_under_other_names(tmp_path):
    for name in ("Training_Set/a/1", "Training_Set/b/2", "dev/a/3", "test-set/b/4"):
        write(tmp_path / f"{name}.png", picture(8, 8))
    assert {part: len(source) for part, source in splits(tmp_path).items()} == {"train": 2, "val": 1, "test": 1}
    assert len(open_source(tmp_path, split="validation")) == 1
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"both 'Training_Set' and 'train' of .* are names of its part 'train'"):
        splits(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("trainA", "trainB", "testA", "testB"), "folders that may be parts, testA, testB, trainA, trainB"),
        (("x_train", "x_test", "y_train"), "folders that may be parts, x_test, x_train:"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "has the parts test and train inside its folder 'cat'"),
        (("images/train", "images/val"), "inside its folder 'images'"),
    ],
)
def test_folders_that_would_mix_parts_are_refused(tmp_path, folders, message):
    for folder in folders:
        write(tmp_path / folder / "1.png", picture(8, 8))
    with pytest.raises(ValueError, match=message):
        splits(tmp_path)


@pytest.mark.parametrize(
    ("column", "words", "sizes"),
    [
        ("split", ["Train ", "TRAINING", "dev", "Test_Set"], {"train": 2, "val": 1, "test": 1}),
        ("Split", ["train", "test", "extra", ""], {"train": 1, "test": 1}),
        ("subset", ["train", "train", "holdout", "holdout"], {"train": 2, "test": 2}),
        ("subset", ["train", "test", "other", "other"], {"all": 4}),
        ("split", ["", "", "", ""], {"all": 4}),
    ],
)
def test_columns_of_parts(tmp_path, column, words, sizes, caplog):
    rows = [f"{number}.png,{word}" for number, word in enumerate(words)]
    (tmp_path / "t.csv").write_text(f"path,{column}\n" + "\n".join(rows))
    for number in range(4):
        write(tmp_path / f"{number}.png", picture(8, 8, seed=number))
    assert {part: len(source) for part, source in splits(tmp_path / "t.csv").items()} == sizes
    assert ("in no part" in caplog.text) == ("extra" in words)
    assert ("not taken for parts" in caplog.text) == ("other" in words)


def test_a_split_column_without_a_word_for_a_part_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("path,split\n0.png,0\n0.png,1")
    write(tmp_path / "0.png", picture(8, 8))
    with pytest.raises(
        ValueError, match=r"column 'split' of .* holds '0', '1', and no part: write train, val and test"
    ):
        splits(tmp_path / "t.csv")


def test_identity_is_of_content(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    np.save(tmp_path / "b.npy", 255 - images)
    other = images.copy()
    other[40, 4, 4] ^= 1
    known = identity(open_source(tmp_path / "a.npy"))
    assert known == identity(open_source(images)) == identity(open_source(torch.from_numpy(images)))
    assert len({known, *(identity(open_source(one)) for one in (tmp_path / "b.npy", other, images[::-1]))}) == 4


def test_identity_of_files_is_of_their_sizes_and_bytes(tmp_path):
    for place in ("one", "moved"):
        for number in range(4):
            write(tmp_path / place / f"{number}.png", picture(8, 8, seed=number))
    known = identity(open_source(tmp_path / "one"))
    assert identity(open_source(tmp_path / "moved")) == known
    write(tmp_path / "moved" / "2.png", picture(8, 8, seed=9))
    assert identity(open_source(tmp_path / "moved")) != known


def test_identity_of_a_dataset_that_augments_is_of_what_stays():
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return torch.rand(3, 8, 8), index % 2

    assert identity(open_source(Noisy())) == identity(open_source(Noisy()))
