"""Any number of tags an image: mean average precision and area under the ROC curve, macro over tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from selfsight.metrics.outcome import Outcome
from selfsight.metrics.ranking import average_precision, roc_auc


class Tags(Outcome):
    """Scores of tags `(N, T)` beside whether each is there: 1, 0, or -1 where nobody knows."""

    main = "map"
    undefined: ClassVar[Mapping[str, str]] = {
        "map": "images with a tag",
        "auc": "images with a tag beside such without it",
    }

    def __init__(self, truth: Tensor, scores: Tensor):
        self.truth = truth
        self.scores = scores

    def __len__(self) -> int:
        return len(self.truth)

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        precision, area = [], []
        for truth, scores in zip(self.truth.T, self.scores.T, strict=True):
            known = truth >= 0
            given = scores[known], truth[known] == 1
            precision.append(average_precision(*given, weights[:, known]))
            area.append(roc_auc(given[0][:, None], given[1][:, None], weights[:, known]).squeeze(1))
        return {name: torch.stack(each, dim=1).nanmean(dim=1) for name, each in (("map", precision), ("auc", area))}
