"""How sharp a teacher's assignments are, and how evenly they use their classes."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy, in nats, of the rows of `(N, K)`: 0 when certain, `ln K` when uniform."""
    return torch.special.entr(probabilities).sum(-1).mean()


@full_precision
def usage_entropy(probabilities: Tensor) -> Tensor:
    """Entropy, in nats, of the mean row of `(N, K)`: 0 when one class takes all, `ln K` when all share."""
    return torch.special.entr(probabilities.mean(0)).sum()
