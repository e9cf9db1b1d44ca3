"""Weighted nearest neighbours in feature space."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.probes.arrays import Array, accuracy, as_classes, as_features
from selfsight.progress import track

SIMILARITIES_AT_ONCE = 2**24


class KNN:
    """Classification by the `k` nearest training images, by cosine, weighted `exp(cosine / temperature)`.

    Wu et al.: Unsupervised Feature Learning via Non-Parametric Instance Discrimination (CVPR 2018), section 3.4.

    Fitted: `classes_ (C,)`; `k_`, which is `k` or the size of the bank where that is smaller.
    """

    def __init__(self, k: int = 20, temperature: float = 0.07):
        self.k = k
        self.temperature = temperature

    def fit(self, features: Array, labels: Array) -> KNN:
        """Remember training features `(N, D)` and labels `(N,)`."""
        if self.k < 1 or self.temperature <= 0:
            raise ValueError(f"KNN wants k >= 1 and temperature > 0, got k={self.k} and temperature={self.temperature}")
        features = as_features(features)
        self.classes_, self.labels_ = as_classes(labels, features)
        self.bank_ = F.normalize(features, dim=1)
        self.k_ = min(self.k, len(features))
        return self

    def predict(self, features: Array) -> Tensor:
        """Labels `(N,)` of features `(N, D)`."""
        return self.classes_[self.votes(features).argmax(dim=1)]

    def score(self, features: Array, labels: Array) -> float:
        """Share of features `(N, D)` whose label is predicted."""
        return accuracy(self.predict(features), labels)

    def votes(self, features: Array) -> Tensor:
        """Summed weights of the neighbours of each class, `(N, C)`, relative to the nearest neighbour's."""
        queries = F.normalize(as_features(features, self.bank_.device), dim=1)
        rows = max(1, SIMILARITIES_AT_ONCE // len(self.bank_))
        chunks = track(queries.split(rows), len(queries), "nearest neighbours", size=len)
        return torch.cat([self._votes(chunk) for chunk in chunks])

    def _votes(self, queries: Tensor) -> Tensor:
        cosine, nearest = (queries @ self.bank_.T).topk(self.k_)
        # Relative to the nearest, since exp(cosine / temperature) overflows below a temperature of .011.
        weights = ((cosine - cosine[:, :1]) / self.temperature).exp()
        votes = weights.new_zeros(len(queries), len(self.classes_))
        return votes.scatter_add_(1, self.labels_[nearest], weights)
