"""A detector on the encoder: that it learns, what it leaves as it was, and what it refuses."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from selfsight.evaluate import evaluate
from selfsight.nets import build_encoder
from selfsight.protocols._detector import build_detector, mirrored
from selfsight.protocols.detection import Detection

FAST = {"epochs": 20, "batch_size": 4, "lr": 4e-3, "layer_decay": 1.0, "channels": 16, "size": 64}


def draw(rng, masks):
    """A grey picture with a bright square, and with a dark one in half of them."""
    picture, objects = np.full((64, 80, 3), 128) + rng.normal(0, 8, (64, 80, 3)), []
    for category, level in ((1, 240), (2, 10)):
        if category == 2 and rng.random() < 0.5:
            continue
        side = int(rng.integers(22, 30))
        x, y = int(rng.integers(0, 80 - side)), int(rng.integers(0, 64 - side))
        picture[y : y + side, x : x + side] = level
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        objects.append({"category_id": category, "bbox": [x, y, side, side], "area": side**2, "iscrowd": 0})
        if masks:
            objects[-1]["segmentation"] = [corners]
    return picture.clip(0, 255).astype(np.uint8), objects


def written(root, masks=True, parts=(("train", 24), ("val", 10))):
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir()
    for part, count in parts:
        (root / part).mkdir()
        images, annotations = [], []
        for number in range(count):
            picture, objects = draw(rng, masks)
            Image.fromarray(picture).save(root / part / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 80})
            for one in objects:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **one})
        said = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "bright"}, {"id": 2, "name": "dark"}],
        }
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(said))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet_slim", image_size=32).eval()


def judge(encoder, data, **options):
    given = {"detection": {**FAST, **options}}
    return evaluate(encoder, data, protocols="detection", protocol_options=given, baselines=False)


def value(records, row, metric="box_ap50"):
    return next(one["value"] for one in records if (one["encoder"], one["metric"]) == (row, metric))


def test_it_learns_and_leaves_the_encoder_as_it_was(encoder, data):
    before = {name: one.clone() for name, one in encoder.state_dict().items()}
    records = judge(encoder, data)
    assert {one["metric"] for one in records} == {
        f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap75")
    }
    assert value(records, "trained") > 0.4 and value(records, "trained", "mask_ap50") > 0.4
    assert value(records, "chance") == 0 and records[0]["n_test"] == 10
    assert records[0]["metric"] == "box_ap" and records[0]["low"] is not None
    assert all(torch.equal(one, before[name]) for name, one in encoder.state_dict().items())


def test_the_same_again_with_its_scratch_row_and_frozen(encoder, data):
    short = {"epochs": 1, "frozen": True}
    one, other = (
        evaluate(encoder, data, protocols="detection", protocol_options={"detection": {**FAST, **short}})
        for _ in range(2)
    )
    assert one == other and {row["encoder"] for row in one} == {"trained", "random", "chance"}


def test_boxes_alone(encoder, tmp_path):
    records = judge(encoder, written(tmp_path, masks=False), epochs=1)
    assert {one["metric"] for one in records} == {"box_ap", "box_ap50", "box_ap75"}


@pytest.mark.parametrize("patch", [8, 14])
def test_a_plain_transformer(patch, data):
    torch.manual_seed(0)
    vit = build_encoder("vit_small_image", image_size=4 * patch, patch_size=patch, embed_dim=48, depth=2, num_heads=3)
    assert value(judge(vit.eval(), data, epochs=1), "trained") >= 0
    model = build_detector(vit, 2, 64, 16, masked=False, frozen=False).eval()
    levels = model.backbone(torch.zeros(1, 3, 224, 448))
    assert [tuple(level.shape[2:]) for level in levels.values()] == [(56, 112), (28, 56), (14, 28), (7, 14), (4, 7)]


def test_the_mirror_image():
    image = torch.arange(10.0).view(1, 1, 10).expand(1, 4, 10)
    masks = (image == 2).to(torch.uint8)
    found, target = mirrored(image, {"boxes": torch.tensor([[2.0, 0, 3, 4]]), "masks": masks})
    assert target["boxes"].tolist() == [[7, 0, 8, 4]] and torch.equal(target["masks"], (found == 2).to(torch.uint8))


def changed(data, tmp_path, part, change):
    for folder in sorted(data.iterdir()):
        (tmp_path / folder.name).mkdir()
        for file in sorted(folder.iterdir()):
            (tmp_path / folder.name / file.name).write_bytes(file.read_bytes())
    file = tmp_path / "annotations" / f"instances_{part}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return tmp_path


def test_images_that_are_not_listed_are_counted(encoder, data, tmp_path):
    root = changed(data, tmp_path, "val", lambda content: content["images"].pop(0) and content["annotations"].clear())
    records = judge(encoder, root, epochs=1)
    assert records[0]["left_out"] == [0, 1] and records[0]["n_test"] == 9 and records[0]["value"] is None


def test_a_category_that_training_lacks(encoder, data, tmp_path, caplog):
    def rename(content):
        content["categories"][1]["name"] = "unseen"

    judge(encoder, changed(data, tmp_path, "val", rename), epochs=1)
    assert "categories that training lacks, which count as missed: unseen" in caplog.text


def test_an_image_without_objects_is_learned_from(encoder, data, tmp_path):
    def empty(content):
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] > 8]

    assert judge(encoder, changed(data, tmp_path, "train", empty), epochs=1)[0]["n_train"] == 24


def test_what_cannot_be(encoder, data, tmp_path, monkeypatch):
    root = changed(data, tmp_path, "train", lambda content: content["annotations"].clear())
    with pytest.raises(ValueError, match="has no object in the training images"):
        judge(encoder, root)
    with pytest.raises(ValueError, match="detection wants an epoch"):
        Detection(epochs=0)
    with pytest.raises(ValueError, match="annotations are two"):
        Detection(annotations=("one.json",))
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(ValueError, match=r'pip install "selfsight\[dense\]"'):
        judge(encoder, data)
