"""Objects that were found: average precision as COCO computes it, for images that count as often as one likes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from selfsight.metrics.outcome import Outcome

RECALLS = np.linspace(0, 1, 101)
TINY = np.spacing(1)


@dataclass(frozen=True)
class Matches:
    """What was found of one category, best first.

    image: `(D,)`, of each detection. right, ignored: `(T, D)`, by threshold of the IoU. there: `(N,)`, objects in each
    image that count.
    """

    image: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    there: np.ndarray


class Boxes(Outcome):
    """Average precision of boxes, and of masks where there are some: means over IoU .50 to .95, at .50 and at .75.

    Lin et al.: Microsoft COCO (ECCV 2014); matches are those of pycocotools, 100 detections an image, objects of all
    sizes. A category counts if an image shows it.

    matches: by "box" or "mask", of each category.
    """

    main = "box_ap"
    undefined: ClassVar[Mapping[str, str]] = {"box_ap": "an object in a test image"}

    def __init__(self, matches: Mapping[str, Sequence[Matches]], images: int):
        self.matches = matches
        self.images = images

    def __len__(self) -> int:
        return self.images

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        found = {}
        for kind, categories in self.matches.items():
            each = [precision(one, weights.double().numpy()) for one in categories]
            mean = np.full((len(weights), 10), np.nan)
            if each:
                stacked = np.stack(each)
                known = np.isfinite(stacked)
                count = known.sum(axis=0)
                mean = np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), np.nan)
            for name, values in (("ap", mean.mean(axis=1)), ("ap50", mean[:, 0]), ("ap75", mean[:, 5])):
                found[f"{kind}_{name}"] = torch.from_numpy(values.copy())
        return found


def precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Average precision `(B, T)` of one category, for images that count as `weights (B, N)` say; NaN where it is not
    there."""
    there = weights @ matches.there
    counts = weights[:, matches.image]
    found = np.zeros((len(weights), len(matches.right)))
    for threshold, (right, ignored) in enumerate(zip(matches.right, matches.ignored, strict=True)):
        hits = np.cumsum(counts * (right & ~ignored), axis=1)
        misses = np.cumsum(counts * (~right & ~ignored), axis=1)
        share = hits / (hits + misses + TINY)
        best = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        for row in range(len(weights)):
            if there[row] > 0 and best.shape[1]:
                places = np.searchsorted(hits[row] / there[row], RECALLS, side="left")
                found[row, threshold] = best[row][places[places < best.shape[1]]].sum() / len(RECALLS)
    found[there == 0] = np.nan
    return found


def match(truth: dict[str, Any], detections: list[dict[str, Any]], kind: str) -> list[Matches]:
    """What pycocotools matches, by category.

    truth: a data set in COCO's form whose images have the numbers from 1 in their order. detections: image_id,
    category_id, bbox, area, score, and segmentation for masks. kind: "box" or "mask".
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known: Any
    found: Any
    kinds: dict[str, Any] = {"box": "bbox", "mask": "segm"}
    with contextlib.redirect_stdout(io.StringIO()):
        known, found = COCO(), COCO()
        known.dataset = truth
        known.createIndex()
        numbered = [{**one, "id": number, "iscrowd": 0} for number, one in enumerate(detections, 1)]
        found.dataset = {**truth, "annotations": numbered}
        found.createIndex()
        judge = COCOeval(known, found, kinds[kind])
        judge.params.areaRng, judge.params.areaRngLbl = [judge.params.areaRng[0]], ["all"]
        judge.evaluate()
    images = len(truth["images"])
    return [
        one_category(judge.evalImgs[start : start + images])
        for start in range(0, len(judge.params.catIds) * images, images)
    ]


def one_category(images: Sequence[Any]) -> Matches:
    """The matches of one category from those in each image, None where there is nothing."""
    there = np.array([0 if one is None else int((~np.asarray(one["gtIgnore"], dtype=bool)).sum()) for one in images])
    some = [(place, one) for place, one in enumerate(images) if one is not None]
    scores = np.concatenate([one["dtScores"] for _, one in some]) if some else np.zeros(0)
    order = np.argsort(-scores, kind="mergesort")
    image = np.concatenate([np.full(len(one["dtScores"]), place) for place, one in some]) if some else np.zeros(0)
    right = np.concatenate([one["dtMatches"] for _, one in some], axis=1) > 0 if some else np.zeros((10, 0), bool)
    ignored = np.concatenate([one["dtIgnore"] for _, one in some], axis=1) > 0 if some else np.zeros((10, 0), bool)
    return Matches(image[order].astype(np.int64), right[:, order], ignored[:, order], there)
