from __future__ import annotations

import json
import os
import socket

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight.data import FolderSource, UnreadableImage, identity, numeric_metadata, open_source, splits
from selfsight.data.files import SUFFIXES
from selfsight.data.folder import scan
from selfsight.engine.images import Images
from selfsight.naming import RUN_MARKER

from .conftest import picture, write


def test_classes_come_from_sub_folders(pictures):
    source = FolderSource(pictures)
    assert (len(source), source.channels, source.classes) == (12, 3, ["a", "b"])
    assert source.labels.tolist() == [0] * 6 + [1] * 6
    assert source.metadata["path"][7].endswith("b/07.png")
    for i in range(12):
        np.testing.assert_array_equal(source.read(i).permute(1, 2, 0).numpy(), picture(10, 12, seed=i))
        assert source.shape(i) == (10, 12)


def test_flat_folders_have_no_labels(tmp_path, pictures):
    write(tmp_path / "flat" / "x.png", picture(4, 4))
    write(tmp_path / "flat" / ".hidden.png", picture(4, 4))
    (tmp_path / "flat" / "notes.txt").write_text("no image")
    flat = open_source(tmp_path / "flat")
    assert (len(flat), flat.labels, flat.classes) == (1, None, None)
    one = tmp_path / "one"
    write(one / "only" / "deep" / "x.png", picture(4, 4))
    assert open_source(one).labels is None
    write(pictures / "loose.png", picture(4, 4))
    assert FolderSource(pictures).labels.tolist() == [0] * 6 + [1] * 6 + [-1]


def test_grey_among_colour_becomes_colour(tmp_path):
    grey = write(tmp_path / "grey.png", picture(6, 6, 1))
    assert FolderSource(tmp_path).channels == 1
    write(tmp_path / "colour.png", picture(6, 6, 3))
    source = FolderSource(tmp_path)
    assert source.channels == 3
    np.testing.assert_array_equal(source.read(1).numpy(), np.repeat(grey.transpose(2, 0, 1), 3, axis=0))
    assert FolderSource(tmp_path, channels=1).read(0).shape == (1, 6, 6)


def test_alpha_is_read_where_it_is_asked_for(tmp_path, caplog):
    opaque = np.concatenate([picture(6, 6), np.full((6, 6, 1), 255, np.uint8)], axis=-1)
    write(tmp_path / "a.png", opaque)
    clear = opaque.copy()
    clear[0, 0, 3] = 7
    write(tmp_path / "b.png", clear)
    assert FolderSource(tmp_path).channels == 3
    assert "1 of 2 images looked at are transparent: the alpha channel is dropped" in caplog.text
    source = FolderSource(tmp_path, channels=4)
    np.testing.assert_array_equal(source.read(1).permute(1, 2, 0).numpy(), clear)


def test_sixteen_bit_range(tmp_path):
    write(tmp_path / "a.png", np.full((4, 4), 40_000, np.uint16))
    source = FolderSource(tmp_path)
    assert (source.dtype, source.value_range, source.channels) == (torch.uint16, (0.0, 65535.0), 1)
    assert int(source.read(0)[0, 0, 0]) == 40_000


def test_splits_agree_on_classes(tmp_path):
    for name in ("train/b/1", "train/c/2", "validation/a/3", "test/c/4"):
        write(tmp_path / f"{name}.png", picture(4, 4))
    parts = splits(tmp_path)
    assert list(parts) == ["train", "val", "test"]
    assert {name: part.labels.tolist() for name, part in parts.items()} == {"train": [1, 2], "val": [0], "test": [2]}
    assert open_source(tmp_path).labels.tolist() == [1, 2]
    assert len(open_source(tmp_path, split="val")) == 1


def test_train_alone_is_a_split_and_among_classes_a_class(tmp_path):
    write(tmp_path / "train" / "a" / "1.png", picture(4, 4))
    assert list(splits(tmp_path)) == ["train"]
    write(tmp_path / "bus" / "2.png", picture(4, 4))
    assert splits(tmp_path)["all"].classes == ["bus", "train"]
    with pytest.raises(ValueError, match="has no split 'test' but 'all'"):
        open_source(tmp_path, split="test")


def test_npy_files_are_images_too(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((5, 6, 7), i - 1.5, np.float32))
    source = FolderSource(tmp_path, channels=1)
    assert (source.channels, source.dtype, source.value_range) == (1, torch.float32, (-1.5, 0.5))
    assert source.read(2).shape == (1, 5, 6, 7)
    np.save(tmp_path / "3.npy", np.array([{"unsafe": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableImage, match="allow_pickle"):
        FolderSource(tmp_path, channels=1).read(3)
    write(tmp_path / "4.png", picture(4, 4))
    with pytest.raises(ValueError, match=r"mixes \.npy arrays with image files"):
        FolderSource(tmp_path)


def test_links_are_followed_once(tmp_path, pictures):
    (pictures / "a" / "loop").symlink_to(pictures)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "x").symlink_to(pictures / "b")
    assert len(FolderSource(pictures)) == 12
    assert len(FolderSource(tmp_path / "linked")) == 6


def test_missing_empty_and_unreadable_folders(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist: give a folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .*empty: expected files ending in \.jpg"):
        open_source(tmp_path / "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_text("hello")
    with pytest.raises(ValueError, match=r"no readable image in .*bad: all 1 files fail.*not an image"):
        open_source(tmp_path / "bad")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif"])
def test_broken_files_say_why(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write(path, rough)
    source = FolderSource(tmp_path)
    whole = path.read_bytes()
    for contents, why in (
        (b"", "the file is empty"),
        (b"text", "this is not an image"),
        (whole[: len(whole) // 2], ""),
    ):
        path.write_bytes(contents)
        with pytest.raises(UnreadableImage, match=rf"x\.{suffix}: .*{why}"):
            source.read(0)
    path.unlink()
    with pytest.raises(UnreadableImage, match="No such file"):
        source.read(0)


def test_real_photographs(real_data):
    parts = splits(real_data / "imagenette")
    assert list(parts) == ["train", "val"]
    assert (len(parts["train"]), len(parts["train"].classes), parts["val"].channels) == (3000, 10, 3)
    assert parts["train"].read(5, 64).shape == (3, 64, 64)


HIDDEN = (".cache", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found")


def test_hidden_folders_among_class_folders_are_no_classes(pictures, caplog):
    for name in HIDDEN:
        write(pictures / name / "x.png", picture(4, 4))
        write(pictures / "a" / name / "x.png", picture(4, 4))
    for name in (".x.png", "a/._00.png", "b/Thumbs.db"):
        (pictures / name).write_bytes(b"x")
    source = FolderSource(pictures)
    assert (len(source), source.classes) == (12, ["a", "b"])
    assert f"{pictures}: left out {2 * len(HIDDEN) + 3} hidden" in caplog.text
    for name in HIDDEN:
        write(pictures.parent / "split" / name / "x.png", picture(4, 4))
    write(pictures.parent / "split" / "train" / "x.png", picture(4, 4))
    assert list(splits(pictures.parent / "split")) == ["train"]


def test_what_a_run_wrote_is_no_image(pictures, caplog):
    before = identity(FolderSource(pictures))
    for run in ("runs/simclr-1", "runs/simclr-2", "a/run"):
        write(pictures / run / "views.png", picture(4, 4))
        write(pictures / run / "pictures" / "x.png", picture(4, 4))
        (pictures / run / RUN_MARKER).write_text("{}")
    source = open_source(pictures)
    assert (len(source), source.classes, identity(source)) == (12, ["a", "b"], before)
    assert "left out 3 folders of runs ('a/run', 'runs/simclr-1', 'runs/simclr-2')" in caplog.text
    with pytest.raises(ValueError, match=r"simclr-1 is the folder of a run \(selfsight-run.json lies in it\)"):
        open_source(pictures / "runs" / "simclr-1")


def test_what_is_left_out_is_counted_by_suffix(pictures, caplog):
    for name in ("a/1.txt", "a/2.TXT", "b/3.mp4", "README", "a/x.tar.gz"):
        (pictures / name).write_text("x")
    (pictures / "fish").mkdir()
    assert FolderSource(pictures).classes == ["a", "b"]
    assert "left out 2 .txt, 1 .gz, 1 .mp4, 1 without a suffix, 1 folder without files ('fish')" in caplog.text
    (pictures / "fish" / "x.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no images in .*fish: expected .*; left out 1 \.txt"):
        FolderSource(pictures / "fish")


def test_nothing_is_said_where_nothing_is_left_out(pictures, caplog):
    FolderSource(pictures)
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_capitals_of_a_suffix_do_not_matter(suffix, tmp_path):
    (tmp_path / f"x{suffix.upper()}").write_bytes(b"x")
    assert scan(tmp_path).images == [f"x{suffix.upper()}"]


def test_what_is_no_file_does_not_hang(pictures, caplog):
    os.mkfifo(pictures / "a" / "pipe.png")
    for name, target in (("broken", "nowhere"), ("itself", "itself.png"), ("device", "/dev/zero")):
        (pictures / "a" / f"{name}.png").symlink_to(target)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(pictures / "a" / "socket.png"))
    source = FolderSource(pictures)
    assert len(source) == 12
    assert "left out 5 that are no files" in caplog.text
    (pictures / "b" / "07.png").unlink()
    os.mkfifo(pictures / "b" / "07.png")
    for look in (source.read, source.shape):
        with pytest.raises(UnreadableImage, match=r"b/07.png: this is no file but"):
            look(7)


def test_folders_that_cannot_be_listed_are_named(pictures, caplog, monkeypatch):
    listing = os.scandir

    def refuse(path):
        if os.path.basename(path) == "b":
            raise PermissionError("not yours")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(FolderSource(pictures)) == 6
    assert "left out 1 folder that cannot be listed ('b')" in caplog.text


NAMES = (
    b"caf\xe9",
    "café".encode(),
    "日本".encode(),
    b'a "q", b',
    b"two\nlines",
    b" space ",
    b"%s %d {x}",
    b"-x",
    b"#1",
)


def test_names_of_any_bytes(tmp_path, caplog):
    for name in NAMES:
        write(tmp_path / "in" / os.fsdecode(name) / (os.fsdecode(name) + ".png"), picture(4, 4))
    with caplog.at_level("INFO"):
        source = open_source(tmp_path / "in")
    assert len(source.classes) == len(set(source.classes)) == len(NAMES)
    assert {"caf\\xe9", "café", "日本", "two\\nlines", 'a "q", b'} <= set(source.classes)
    for index in range(len(source)):
        assert source.read(index).shape == (3, 4, 4)
        assert "\n" not in source.describe(index)
        source.describe(index).encode()
    json.dumps(source.classes, ensure_ascii=False).encode()
    caplog.text.encode()
    assert len(identity(source)) == 16
    Images(source, source, "all").write_held_out(tmp_path / "held_out.csv")
    table = pd.read_csv(tmp_path / "held_out.csv", encoding_errors="surrogateescape", dtype=object)
    assert table["path"].tolist() == source.metadata["path"].tolist()
    assert set(table["label"]) == set(source.classes)


def test_folders_called_by_numbers_are_classes_in_their_order(tmp_path):
    for name in ("100", "20", "3", "-1"):
        write(tmp_path / name / "x.png", picture(4, 4))
    source = open_source(tmp_path)
    assert source.classes == ["3", "20", "100"]
    assert source.labels.tolist() == [-1, 2, 1, 0]
    assert numeric_metadata(source)["label"].tolist() == [-1, 100, 20, 3]


def test_folders_whose_names_differ_in_spaces_are_two_classes(tmp_path):
    for name in ("a", " a", " "):
        write(tmp_path / name / "1.png", picture(4, 4))
    source = open_source(tmp_path)
    assert source.classes == [" ", " a", "a"] and sorted(source.labels) == [0, 1, 2]


def test_folders_of_missing_words_are_classes(tmp_path):
    for name in ("None", "NA", "null", "nan"):
        write(tmp_path / name / "x.png", picture(4, 4))
    source = open_source(tmp_path)
    assert source.classes == ["NA", "None", "nan", "null"] and source.labels.tolist() == [0, 1, 2, 3]


def test_what_lies_beside_the_splits_is_said(tmp_path, caplog):
    for name in ("train/a/1", "train/b/2", "test/b/3", "cat/4", "loose"):
        write(tmp_path / f"{name}.png", picture(4, 4))
    parts = splits(tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"train": 2, "test": 1}
    assert "left out what lies beside the splits train, test: 'cat', 'loose.png'" in caplog.text


def test_a_mix_of_arrays_and_images_is_counted(tmp_path):
    write(tmp_path / "1.png", picture(4, 4))
    for name in ("2", "3"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"mixes \.npy arrays with image files, 2 and 1: keep them apart"):
        open_source(tmp_path)
