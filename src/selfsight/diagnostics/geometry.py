"""Where features lie on the sphere, and whether views of one image find each other."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def spread(features: Tensor) -> Tensor:
    """Mean standard deviation of the dimensions of L2-normalised `(N, D)`, times `sqrt(D)`.

    1 for features spread evenly over the sphere, 0 when all are the same (SimSiam, figure 2).
    """
    return F.normalize(features, dim=-1).std(0, correction=0).mean() * math.sqrt(features.shape[1])


@full_precision
def alignment(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of paired L2-normalised features `(N, D)`: 0 when views agree.

    Wang, Isola: Alignment and uniformity on the hypersphere (ICML 2020), eq. 1.
    """
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).square().sum(-1).mean()


@full_precision
def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """Logarithm of the mean Gaussian potential over pairs of L2-normalised features `(N, D)`.

    0 when all are the same, near -2t when spread over a sphere of many dimensions.

    Wang, Isola: Alignment and uniformity on the hypersphere (ICML 2020), eq. 2.
    """
    unit = F.normalize(features, dim=-1)
    count = len(unit)
    itself = torch.eye(count, dtype=torch.bool, device=unit.device)
    potential = (2 * t * (unit @ unit.T - 1)).masked_fill(itself, -torch.inf)
    return potential.flatten().logsumexp(0) - math.log(count * (count - 1))


@full_precision
def view_matching_accuracy(a: Tensor, b: Tensor) -> Tensor:
    """Share of rows of `a` `(N, D)` whose nearest row of `b`, by cosine, is their own."""
    similarity = F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    itself = torch.arange(len(a), device=a.device)
    return (similarity.argmax(1) == itself).float().mean()
