"""Whether images of the same kind are each other's nearest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.progress import track

AT_ONCE = 2**24  # similarities that are in memory at once


def search(features: Tensor, identity: Tensor) -> dict[str, Tensor]:
    """Average precision and recall@k of each image as a query among the others `(N,)`; NaN where none is the same."""
    x = F.normalize(features, dim=1)
    found: dict[str, list[Tensor]] = {"map": [], "recall@1": [], "recall@5": [], "recall@10": []}
    rows = torch.arange(len(x))
    chunks = rows.split(max(1, AT_ONCE // len(x)))
    for chunk in track(chunks, len(x), "retrieval", size=len):
        cosine = x[chunk] @ x.T
        cosine[torch.arange(len(chunk)), chunk] = -torch.inf  # a query does not find itself
        order = cosine.argsort(dim=1, descending=True)[:, :-1]
        hit = (identity[order] == identity[chunk][:, None]).double()
        total = hit.sum(dim=1)
        precision = hit.cumsum(dim=1) / torch.arange(1, hit.shape[1] + 1)
        found["map"].append((precision * hit).sum(dim=1) / total)
        for k in (1, 5, 10):
            first = hit[:, :k].amax(dim=1)
            found[f"recall@{k}"].append(torch.where(total > 0, first, torch.nan))
    return {name: torch.cat(parts) for name, parts in found.items()}


def expected_by_chance(same: np.ndarray, others: int) -> dict[str, Tensor]:
    """What `search` answers on average where the others stand in a random order, of which `same` are right.

    The mean of precision at the places of the right ones: by linearity (1 + (same - 1) (k - 1) / (others - 1)) / k at
    the place k, over all k.
    """
    places = np.arange(1, others + 1)
    harmonic, dims = (1 / places).mean(), max(others - 1, 1)
    precision = harmonic + (same - 1) / dims * (1 - harmonic)
    found = {"map": np.where(same > 0, precision, np.nan)}
    for k in (1, 5, 10):
        missed = np.ones(len(same))
        for place in range(min(k, others)):  # none of the first k is right
            missed *= np.clip(others - same - place, 0, None) / (others - place)
        found[f"recall@{k}"] = np.where(same > 0, 1 - missed, np.nan)
    return {name: torch.from_numpy(values) for name, values in found.items()}
