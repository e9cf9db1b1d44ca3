from __future__ import annotations

import numpy as np
import pytest
import torch

from selfsight.data import FolderSource, UnreadableImage, open_source, splits

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
