"""What a user may call data, and what is said of it."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest

from selfsight.data import FolderSource, open_source, splits

from .conftest import picture, write


@pytest.mark.parametrize("spell", [str, os.fsencode, lambda path: f"{path}/", lambda path: f"{path}/../{path.name}"])
def test_a_folder_in_any_spelling(spell, pictures):
    assert len(open_source(spell(pictures))) == 12


def test_paths_from_here_and_from_home(pictures, monkeypatch):
    monkeypatch.setenv("HOME", str(pictures.parent))
    assert len(open_source("~/images")) == 12
    monkeypatch.chdir(pictures)
    assert len(open_source(".")) == 12


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("photo.JPG", "is one image: give the folder"),
        ("images.zip", "is packed: unpack it"),
        ("images.tar.gz", "is packed: unpack it"),
        ("images.h5", "cannot read images from .*give a folder, .csv"),
        ("images", "cannot read images from .*give a folder, .csv"),
    ],
)
def test_files_that_are_no_data(name, words, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=words):
        open_source(tmp_path / name)


def test_what_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "pipe.csv"):
        with pytest.raises(ValueError, match="is neither a folder nor a file"):
            open_source(tmp_path / name)


@pytest.mark.parametrize("data", ["", "  "])
def test_an_empty_text_is_not_the_folder_here(data, pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    with pytest.raises(ValueError, match="empty text"):
        open_source(data)


def test_a_folder_called_digits_is_told_from_the_digits(pictures, monkeypatch, caplog):
    monkeypatch.chdir(pictures.parent)
    pictures.rename("digits")
    assert len(open_source("digits")) == 1797
    assert "./digits" in caplog.text
    assert len(open_source("./digits")) == 12


def test_a_part_that_has_parts_is_the_one_of_its_name(tmp_path):
    for name in ("train/a/1", "train/b/2", "test/b/3", "other/a/4", "other/b/5"):
        write(tmp_path / "data" / f"{name}.png", picture(4, 4))
    whole, other = tmp_path / "data", tmp_path / "data" / "other"
    parts = splits({"train": other, "test": whole})
    assert parts["test"].metadata["path"].tolist() == [str(whole / "test" / "b" / "3.png")]
    with pytest.raises(ValueError, match=r"part 'val' has parts itself, 'train', 'test'"):
        splits({"train": other, "val": whole})


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


def test_what_was_read_is_said(tmp_path, said):
    images = np.zeros((6, 4, 4), np.uint8)
    np.savez(tmp_path / "classes.npz", images=images, labels=[3, 3, 20, 20, 3, -1])
    np.savez(tmp_path / "scale.npz", images=images, labels=[3, 3.5, 20, 20, 3, -1])
    np.savez(tmp_path / "signs.npz", images=images, labels=[-1, 1, -1, 1, 1, 1])
    np.savez(tmp_path / "none.npz", images=images)
    np.savez(tmp_path / "alike.npz", images=images, labels=["Cat", "cat", "dog", "1", "01", "x"])
    for name in ("classes", "scale", "signs", "none", "alike"):
        open_source(tmp_path / f"{name}.npz")
    text = said()
    assert "6 images; 2 classes (whole numbers from 3 to 20); 1 without a label (empty or -1)" in text
    assert "6 images; labels are numbers and no classes; 1 without a label" in text
    assert "2 without a label (empty or -1, which is no class: write 0 and 1 for -1 and 1)" in text
    assert "6 images; no labels" in text
    assert "written almost alike: 01, 1, Cat, cat" in text


def test_whole_numbers_that_look_measured_are_never_silently_classes(tmp_path, said):
    images = np.zeros((80, 4, 4), np.uint8)
    np.savez(tmp_path / "ages.npz", images=images, labels=20 + np.arange(80) % 40)
    np.savez(tmp_path / "codes.npz", images=images, labels=np.arange(80) % 40)
    open_source(tmp_path / "codes.npz")
    assert "taken for classes" not in said()
    open_source(tmp_path / "ages.npz")
    assert "40 different whole numbers, 20 to 59, are taken for classes of" in said()


def test_a_source_that_is_ready_is_not_said_again(pictures, said):
    source = FolderSource(pictures)
    open_source(source)
    splits({"train": source, "test": source})
    assert said() == ""


def test_the_folders_of_images_without_classes_are_said(tmp_path, pictures, said):
    open_source(tmp_path)
    assert "no labels; all lie below the one folder 'images', which is no class" in said()
    write(pictures / "a" / "deep" / "x.png", picture(4, 4))
    write(pictures / "loose.png", picture(4, 4))
    open_source(pictures)
    assert (
        "14 images; 2 classes; 1 without a label (not in a class folder or -1); classes are the first folders, and "
        "1 images lie deeper" in said()
    )


@pytest.mark.parametrize("asked", [{"label": "age"}, {"path_column": "file"}, {"channels": 3}])
def test_what_is_opened_is_not_read_in_another_way(asked):
    for data in (open_source("digits"), "digits", {"train": open_source("digits")}):
        with pytest.raises(ValueError, match=f"{next(iter(asked))}"):
            open_source(data, **asked)
    assert open_source(open_source("digits"), channels=1).channels == 1
