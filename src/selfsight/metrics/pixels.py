"""A class for each pixel: intersection over union, of pixels of all images together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from selfsight.metrics.outcome import Outcome


class Pixels(Outcome):
    """Counts of pixels by image and class, all `(N, C)`: `hits` right, `predicted` as it, `there` that are it.

    names: of the classes. A class counts if a test image shows it; pixels that nobody knows are in no count. mIoU is
    over the whole data set, as of PASCAL VOC and ADE20K: no mean over images.
    """

    main = "miou"
    undefined: ClassVar[Mapping[str, str]] = {"iou": "a pixel of its class"}

    def __init__(self, hits: Tensor, predicted: Tensor, there: Tensor, names: Sequence[str]):
        self.hits, self.predicted, self.there = (counts.double() for counts in (hits, predicted, there))
        self.names = list(names)

    def __len__(self) -> int:
        return len(self.hits)

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        weights = weights.double()
        hits, predicted, there = (weights @ counts for counts in (self.hits, self.predicted, self.there))
        iou = torch.where(there > 0, hits / (predicted + there - hits), torch.nan)
        recall = torch.where(there > 0, hits / there, torch.nan)
        found = {
            "miou": iou.nanmean(dim=1),
            "mean_accuracy": recall.nanmean(dim=1),
            "pixel_accuracy": hits.sum(dim=1) / there.sum(dim=1),
        }
        shown = self.there.sum(dim=0) > 0
        return found | {f"iou {name}": iou[:, place] for place, name in enumerate(self.names) if shown[place]}


def count_pixels(predicted: Tensor, truth: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, predicted and true pixels `(C,)` of one image, whose truth is -1 where nobody knows."""
    known = truth >= 0
    predicted, truth = predicted[known], truth[known]
    right = truth[predicted == truth]
    hits, guessed, there = (torch.bincount(one, minlength=classes) for one in (right, predicted, truth))
    return hits, guessed, there
