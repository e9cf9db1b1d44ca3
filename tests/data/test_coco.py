"""Annotations in COCO's form: where they lie, what they say, and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask

from selfsight.data import ArraySource, splits, subset
from selfsight.data.coco import coco_form, find_annotations, masks_of, objects_of


def content():
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 8, "width": 10},
            {"id": 8, "file_name": "b.png", "height": 8, "width": 10},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [2, 1, 4, 3], "area": 12, "iscrowd": 0,
             "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [8, 6, 5, 5], "iscrowd": 1,
             "segmentation": {"size": [8, 10], "counts": [70, 10]}},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [4, 4, 0, 2], "area": 0},
        ],
    }  # fmt: skip


@pytest.fixture
def root(tmp_path):
    for part in ("train2017", "val2017"):
        (tmp_path / part).mkdir()
        for name in ("a", "b", "c"):
            Image.fromarray(np.zeros((8, 10, 3), dtype=np.uint8)).save(tmp_path / part / f"{name}.png")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{part}.json").write_text(json.dumps(content()))
        (tmp_path / "annotations" / f"captions_{part}.json").write_text("{}")
    return tmp_path


def test_what_is_said_of_each_image(root):
    source = splits(root)["train"]
    file = find_annotations(source)
    assert file == root / "annotations" / "instances_train2017.json"
    (first, second, third), flat = objects_of(source, file)
    assert first.boxes.tolist() == [[2, 1, 6, 4], [8, 6, 10, 8]] and first.names == ["dog", "cat"]
    assert first.crowd.tolist() == [False, True] and first.areas.tolist() == [12, 25] and first.masked
    assert len(second) == 0 and second.boxes.shape == (0, 4) and third is None
    assert flat == 1
    ((one,), _) = objects_of(subset(source, [1]), file)
    assert len(one) == 0


def test_masks_of_polygons_and_runs():
    first, second = (one["segmentation"] for one in content()["annotations"][:2])
    found = masks_of([first, second], 8, 10)
    assert found.shape == (2, 8, 10) and found[0, 1:4, 2:6].all() and found[0].sum() == 12
    assert found[1].sum() == 10 and found[1].T.flatten()[70:].all()
    packed = mask.encode(np.asfortranarray(found[0].numpy()))
    assert torch.equal(masks_of([{**packed, "counts": packed["counts"].decode()}], 8, 10)[0], found[0])
    assert masks_of([], 8, 10).shape == (0, 8, 10)


def test_there_and_back(root):
    source = splits(root)["train"]
    objects = objects_of(source, find_annotations(source))[0][:2]
    form = coco_form(objects, [(8, 10)] * 2, ["cat", "dog"], masked=True)
    assert [one["bbox"] for one in form["annotations"]] == [[2, 1, 4, 3], [8, 6, 2, 2]]
    assert [one["category_id"] for one in form["annotations"]] == [2, 1]
    assert [one["iscrowd"] for one in form["annotations"]] == [0, 1] and len(form["images"]) == 2


def test_one_beside_the_images(root):
    for file in (root / "annotations").iterdir():
        file.unlink()
    source = splits(root)["train"]
    with pytest.raises(ValueError, match=r"has no annotations: COCO's are annotations/instances_train2017.json"):
        find_annotations(source)
    (root / "train2017" / "_annotations.coco.json").write_text("{}")
    assert find_annotations(source).name == "_annotations.coco.json"
    (root / "train2017" / "more.json").write_text("{}")
    with pytest.raises(ValueError, match="there are several annotations"):
        find_annotations(source)


def test_arrays_have_no_names(root):
    source = ArraySource(np.zeros((2, 8, 10, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="annotations name files, and array is none"):
        objects_of(source, root / "annotations" / "instances_train2017.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "has no list of images and annotations and categories"),
        ('{"images": [], "annotations": []}', "has no list of categories"),
        (json.dumps({**content(), "annotations": [{"image_id": 7}]}), r"KeyError\('bbox'\) in one of its entries"),
        (json.dumps({**content(), "images": [{"id": 7, "file_name": "z.png"}], "annotations": []}), "lists none of"),
    ],
)
def test_what_is_no_annotation(root, text, message):
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        objects_of(splits(root)["train"], file)
