"""One class an image: top-1 and top-5 accuracy, balanced accuracy, macro F1, area under the ROC curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from selfsight.metrics.outcome import Outcome
from selfsight.metrics.ranking import roc_auc

FEW = 5  # classes among which the five best guesses are no feat
MANY = 100  # classes beyond which the area under each one's curve takes too long


class Classes(Outcome):
    """Scores of classes for images of which each has one.

    truth `(N,)` int64. scores `(N, C)`, comparable between images, such as probabilities; -inf for a class that was
    not there to learn. prediction `(N,)`: where it is not the class with the highest score.
    """

    main = "top1"
    undefined: ClassVar[Mapping[str, str]] = {"auc": "images of more than one class"}

    def __init__(self, truth: Tensor, scores: Tensor, prediction: Tensor | None = None):
        self.truth = truth
        self.scores = scores
        self.predicted = scores.argmax(dim=1) if prediction is None else prediction

    def __len__(self) -> int:
        return len(self.truth)

    def values(self, weights: Tensor) -> dict[str, Tensor]:
        weights, classes = weights.double(), self.scores.shape[1]
        right = (self.predicted == self.truth).double()
        hits = weights.new_zeros(len(weights), classes)
        hits.index_add_(1, self.truth, weights * right)
        there = torch.zeros_like(hits).index_add_(1, self.truth, weights)
        guessed = torch.zeros_like(hits).index_add_(1, self.predicted, weights)
        recall = torch.where(there > 0, hits / there, torch.nan)
        f1 = torch.where(there + guessed > 0, 2 * hits / (there + guessed), torch.nan)
        found = {
            "top1": weights @ right / weights.sum(dim=1),
            "balanced": recall.nanmean(dim=1),
            "f1": f1.nanmean(dim=1),
        }
        if classes > FEW:
            found["top5"] = weights @ self._among_best().double() / weights.sum(dim=1)
        if classes <= MANY:
            found["auc"] = self._auc(weights)
        return found

    def _among_best(self) -> Tensor:
        """Whether fewer than five classes score higher than the true one `(N,)`; ties go to the lower class."""
        own = self.scores.gather(1, self.truth[:, None])
        before = torch.arange(self.scores.shape[1], device=own.device) < self.truth[:, None]
        higher = (self.scores > own) | ((self.scores == own) & before)
        return (higher.sum(dim=1) < FEW) & own.isfinite().squeeze(1)

    def _auc(self, weights: Tensor) -> Tensor:
        """Mean over classes of each against all others, of those that are both there and learned."""
        learned = self.scores.isfinite().any(dim=0).nonzero().flatten()
        return roc_auc(self.scores[:, learned], self.truth[:, None] == learned, weights).nanmean(dim=1)
