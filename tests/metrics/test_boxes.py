"""Average precision against pycocotools and faster-coco-eval, for boxes and masks, and for images that repeat."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO as FasterCOCO
from faster_coco_eval import COCOeval_faster
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from selfsight.metrics import Boxes
from selfsight.metrics.boxes import match

SIDE, IMAGES, CATEGORIES = 60, 12, 3


def run_of(box):
    bits = np.zeros((SIDE, SIDE), dtype=np.uint8, order="F")
    x, y, width, height = (round(side) for side in box)
    bits[y : y + height, x : x + width] = 1
    found = mask.encode(bits)
    return {**found, "counts": found["counts"].decode()}


@pytest.fixture(scope="module")
def data():
    """Objects in twelve images, some of a crowd, and detections: near ones, doubled, of another category, wrong."""
    rng = np.random.default_rng(0)
    truth = {
        "info": {},
        "images": [{"id": number, "height": SIDE, "width": SIDE} for number in range(1, IMAGES + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, CATEGORIES + 2)],  # one is nowhere
        "annotations": [],
    }
    detections = []
    for image in range(1, IMAGES + 1):
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.integers(0, 30, 2)
            box = [float(x), float(y), float(rng.integers(5, 28)), float(rng.integers(5, 28))]
            category = int(rng.integers(1, CATEGORIES + 1))
            number = len(truth["annotations"]) + 1
            truth["annotations"].append(
                {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3],
                 "iscrowd": int(rng.random() < 0.1), "segmentation": run_of(box)}
            )  # fmt: skip
            for _ in range(int(rng.integers(1, 3))):
                near = (np.array(box) + rng.normal(0, 0.8, 4)).clip(1, 29).round().tolist()
                detections.append((image, category if rng.random() < 0.9 else 1, near))
        detections.append((image, int(rng.integers(1, CATEGORIES + 1)), [5.0, 5.0, 20.0, 9.0]))
    scores = rng.permutation(len(detections)) / len(detections)
    found = [
        {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "score": float(score),
         "segmentation": run_of(box)}
        for (image, category, box), score in zip(detections, scores, strict=True)
    ]  # fmt: skip
    return truth, found


def official(truth, detections, kind, api, judge):
    with contextlib.redirect_stdout(io.StringIO()):
        known = api()
        known.dataset = copy.deepcopy(truth)
        known.createIndex()
        rows = [
            {
                name: value
                for name, value in one.items()
                if name not in ({"segmentation"} if kind == "bbox" else {"bbox"})
            }
            for one in detections
        ]
        result = judge(known, known.loadRes(rows), kind)
        result.evaluate()
        result.accumulate()
        result.summarize()
    return list(result.stats[:3])


def ours(truth, detections, weights=None):
    outcome = Boxes({kind: match(truth, detections, kind) for kind in ("box", "mask")}, len(truth["images"]))
    return outcome.values(torch.ones(1, len(outcome)) if weights is None else weights)


@pytest.mark.parametrize(("kind", "iou"), [("box", "bbox"), ("mask", "segm")])
def test_it_is_that_of_others(data, kind, iou):
    found = ours(*data)
    mine = [float(found[f"{kind}_{name}"]) for name in ("ap", "ap50", "ap75")]
    assert 0.1 < mine[0] < 0.9
    assert mine == pytest.approx(official(*data, iou, COCO, COCOeval), abs=1e-12)
    assert mine == pytest.approx(official(*data, iou, FasterCOCO, COCOeval_faster), abs=1e-9)


def test_weights_repeat_images(data):
    truth, detections = data
    weights = torch.tensor([[0.0, 2, 1, 1, 0, 3, 1, 0, 1, 1, 2, 0]])
    again = [image for image, count in enumerate(weights[0].int().tolist(), 1) for _ in range(count)]
    repeated = {**truth, "images": [], "annotations": []}
    shown = []
    for place, image in enumerate(again, 1):
        repeated["images"].append({**truth["images"][image - 1], "id": place})
        for one in truth["annotations"]:
            if one["image_id"] == image:
                repeated["annotations"].append({**one, "image_id": place, "id": len(repeated["annotations"]) + 1})
        shown += [{**one, "image_id": place} for one in detections if one["image_id"] == image]
    one, other = ours(truth, detections, weights), ours(repeated, shown)
    assert {name: float(value) for name, value in one.items()} == pytest.approx(
        {name: float(value) for name, value in other.items()}
    )


def test_nothing_found_and_nothing_there(data):
    truth, detections = data
    assert float(ours(truth, [])["box_ap"]) == 0
    assert torch.isnan(ours({**truth, "annotations": []}, detections)["box_ap"]).all()
