"""Folders of images and masks, in each layout, and masks that say nothing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfsight.data import splits
from selfsight.data.masks import MaskClasses, mask_classes, read_mask


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)


def image(path):
    write(path, np.random.default_rng(0).integers(0, 255, (6, 8, 3)))


def mask(path, value=1):
    write(path, [[0, value] * 4] * 6)


def test_camvid(tmp_path):
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            image(tmp_path / part / f"{name}.jpg")
            mask(tmp_path / f"{part}annot" / f"{name}.png")
    parts = splits(tmp_path)
    assert list(parts) == ["train", "val", "test"] and [len(part) for part in parts.values()] == [2, 2, 2]
    assert parts["val"].metadata["mask"].tolist() == [str(tmp_path / "valannot" / f"{name}.png") for name in "ab"]


@pytest.mark.parametrize("names", [("images", "annotations"), ("imgs", "masks")])
def test_ade20k(tmp_path, names):
    for part in ("training", "validation"):
        image(tmp_path / names[0] / part / "a.jpg")
        mask(tmp_path / names[1] / part / "a.png")
    parts = splits(tmp_path)
    assert list(parts) == ["train", "val"]
    assert parts["train"].metadata["mask"].tolist() == [str(tmp_path / names[1] / "training" / "a.png")]


def test_one_pair_of_folders_and_names_with_endings(tmp_path, caplog):
    for name in ("a", "b"):
        image(tmp_path / "images" / f"{name}.jpg")
    mask(tmp_path / "masks" / "a_mask.png")
    mask(tmp_path / "masks" / "c_mask.png")
    with caplog.at_level("INFO"):
        (part,) = splits(tmp_path).values()
    assert part.metadata["mask"].tolist() == [str(tmp_path / "masks" / "a_mask.png"), None]
    assert "1 of 2 images have a mask; 1 masks have no image" in caplog.text


def test_pairs_inside_of_parts(tmp_path):
    for part in ("train", "test"):
        image(tmp_path / part / "images" / "x" / "a.jpg")
        mask(tmp_path / part / "labels" / "x" / "a.png")
    parts = splits(tmp_path)
    assert parts["test"].metadata["mask"].tolist() == [str(tmp_path / "test" / "labels" / "x" / "a.png")]


def test_pascal_voc(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
    for name in ("a", "b"):
        mask(tmp_path / "SegmentationClass" / f"{name}.png")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for part, names in (("train", "b\n"), ("val", "a\n"), ("trainval", "a\nb\n")):
        (lists / f"{part}.txt").write_text(names)
    parts = splits(tmp_path)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1, "val": 1}
    assert parts["train"].metadata["mask"].tolist() == [str(tmp_path / "SegmentationClass" / "b.png")]


def coco(root, parts=("train2017", "val2017")):
    for part in parts:
        image(root / part / "1.jpg")
        colours = np.zeros((6, 8, 3))
        colours[:3], colours[3:, :4] = (7, 1, 0), (9, 0, 2)  # 263 and 131081
        write(root / f"panoptic_{part}" / "1.png", colours)
        (root / "annotations").mkdir(exist_ok=True)
        said = {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "sky"}],
            "annotations": [
                {
                    "image_id": 1,
                    "file_name": "1.png",
                    "segments_info": [{"id": 263, "category_id": 9}, {"id": 131081, "category_id": 5}],
                }
            ],
        }
        (root / "annotations" / f"panoptic_{part}.json").write_text(json.dumps(said))


def test_coco_panoptic(tmp_path):
    coco(tmp_path)
    parts = splits(tmp_path)
    assert list(parts) == ["train", "val"]
    known, lacking = mask_classes(parts["train"], parts["val"], "mask", 0, (255,))
    assert (known.names, lacking) == (["cat", "sky"], [])
    row = parts["train"].metadata.iloc[0]
    found = known(row["mask"], row["segments"])
    assert found[:3].eq(1).all() and found[3:, :4].eq(0).all() and found[3:, 4:].eq(-1).all()


def test_a_json_of_another_form_is_named(tmp_path):
    coco(tmp_path)
    (tmp_path / "annotations" / "panoptic_train2017.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"panoptic_train2017.json is not in COCO's panoptic form"):
        splits(tmp_path)


@pytest.mark.parametrize("place", ["stuff_{}_pixelmaps", "annotations/stuff_{}_pixelmaps", "stuffthingmaps/{}"])
def test_coco_stuff(tmp_path, place):
    for part in ("train2017", "val2017"):
        image(tmp_path / part / "1.jpg")
        mask(tmp_path / place.format(part) / "1.png")
    parts = splits(tmp_path)
    assert parts["val"].metadata["mask"].tolist() == [str(tmp_path / place.format("val2017") / "1.png")]


def test_folders_of_classes_stay_classes(tmp_path):
    for name in ("face", "face_mask"):  # people with and without
        image(tmp_path / name / "001.jpg")
    (part,) = splits(tmp_path).values()
    assert part.classes == ["face", "face_mask"] and "mask" not in part.metadata


@pytest.mark.parametrize("name", ["face_mask", "facel", "mask"])
def test_folders_of_grey_photographs_stay_classes(tmp_path, name):
    for folder in ("face", name):
        write(tmp_path / folder / "001.png", np.random.default_rng(0).integers(0, 255, (20, 20)))
    (part,) = splits(tmp_path).values()
    assert part.classes == sorted(["face", name])


def test_a_column_of_a_table(tmp_path):
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    mask(tmp_path / "m" / "a.png")
    pd.DataFrame({"path": ["a.jpg", "b.jpg"], "mask": ["m/a.png", None]}).to_csv(tmp_path / "t.csv", index=False)
    (part,) = splits(tmp_path / "t.csv").values()
    assert part.metadata["mask"].iloc[0] == str(tmp_path / "m" / "a.png") and pd.isna(part.metadata["mask"].iloc[1])


def test_masks_that_say_nothing(tmp_path):
    write(tmp_path / "colours.png", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"colours.png holds uint8 \(4, 4, 3\), and no number of a class"):
        read_mask(str(tmp_path / "colours.png"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(ValueError, match=r"the mask .*broken.png cannot be read"):
        read_mask(str(tmp_path / "broken.png"))


@pytest.mark.parametrize("kind", ["png", "palette", "npy", "deep"])
def test_what_masks_hold(tmp_path, kind):
    values = np.array([[0, 1, 2], [255, 3, 4]], dtype=np.uint8)
    path = tmp_path / f"m.{'npy' if kind == 'npy' else 'png'}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "deep":
        Image.fromarray(values.astype(np.uint16)).save(path)
    else:
        picture = Image.fromarray(values)
        if kind == "palette":
            picture.putpalette([number % 256 for number in range(768)])
        picture.save(path)
    assert (read_mask(str(path)) == values).all()


def test_an_unknown_number_is_named(tmp_path):
    mask(tmp_path / "m.png", value=7)
    known = MaskClasses(["0", "1"], {0: 0, 1: 1}, frozenset({255}))
    with pytest.raises(ValueError, match=r"m.png holds 7, and classes are 0 to 1"):
        known(str(tmp_path / "m.png"))
    assert MaskClasses(["0", "1"], {0: 0, 1: 1}, frozenset({7}))(str(tmp_path / "m.png")).unique().tolist() == [-1, 0]
