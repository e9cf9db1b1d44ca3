"""A classifier for very few images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.probes.arrays import Standardiser, as_classes, as_features

BIAS = 100.0  # a constant so large that the penalty hardly shrinks what it is multiplied by


def shrunken_ridge(train: Tensor, labels: Tensor, test: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Scores `(M, C)` of test features and the classes `(C,)`, by ridge regression of -1 and 1 on features that are
    standardised, with a constant beside them. Solved over images, of which there are fewer than features."""
    x = as_features(train, dtype=torch.float64)
    classes, positions = as_classes(labels, x)
    standardise = Standardiser.of(x)
    x, z = (F.pad(standardise(part), (0, 1), value=BIAS) for part in (x, as_features(test, dtype=torch.float64)))
    targets = 2 * F.one_hot(positions, len(classes)).double() - 1
    gram = x @ x.T
    gram.diagonal().add_(penalty)
    return z @ (x.T @ torch.linalg.solve(gram, targets)), classes
