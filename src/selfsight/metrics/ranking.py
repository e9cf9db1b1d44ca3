"""Areas under curves over all thresholds, for images that count with weights; ties are one threshold."""

from __future__ import annotations

import torch
from torch import Tensor


def components(scores: Tensor, positive: Tensor) -> Tensor:
    """How often an image's score is on the right side of one of the other kind `(N,)` float64, half where they tie;
    NaN where there is no other kind. The mean over the positive images is the area under the ROC curve, and so is that
    over the negative ones.

    scores `(N,)`, positive `(N,)` bool. DeLong, DeLong, Clarke-Pearson (Biometrics 1988), equations 4 and 5.
    """
    found = torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    for side, sign in ((positive, 1), (~positive, -1)):
        others = (sign * scores[~side]).sort().values
        own = (sign * scores[side]).contiguous()
        if len(others):
            below, above = (torch.searchsorted(others, own, right=right) for right in (False, True))
            found[side] = (below + above).double() / (2 * len(others))
    return found


def roc_auc(scores: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """Area under the ROC curve of each column `(B, C)`: how often a positive image scores higher than a negative one;
    NaN where one kind is missing.

    scores `(N, C)`, positive `(N, C)` bool, weights `(B, N)`. Exact where all weights are one; for others to the first
    order in how they differ from it, which makes the bootstrap's variance DeLong's and spares a sort a resample.
    """
    each = torch.stack([components(*column) for column in zip(scores.T, positive.T, strict=True)], dim=1)
    weights, plain = weights.double(), each.new_tensor(0.0)
    known = each.nan_to_num()
    sides = []
    for side in (positive.double(), (~positive).double()):
        sides.append((weights @ (known * side)) / (weights @ side))
        plain = plain + (known * side).sum(dim=0) / side.sum(dim=0)
    return sides[0] + sides[1] - plain / 2


def average_precision(scores: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    """Precision at each threshold, weighted by the recall gained there `(B,)`; NaN without a positive image.

    scores `(N,)`, positive `(N,)` bool, weights `(B, N)`.
    """
    found, place = scores.neg().unique(return_inverse=True)
    weights = weights.double()
    hits = weights.new_zeros(len(weights), len(found)).index_add_(1, place[positive], weights[:, positive])
    shown = torch.zeros_like(hits).index_add_(1, place, weights)
    precision = hits.cumsum(dim=1) / shown.cumsum(dim=1).clamp_min(1e-300)
    return (precision * hits).sum(dim=1) / hits.sum(dim=1)
