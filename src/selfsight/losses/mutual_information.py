"""Lower bounds on the mutual information of places of an image and the whole, as losses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, rank, reduce_max, reduce_sum, world_size
from selfsight.losses.blocks import stack_rows
from selfsight.precision import full_precision


@full_precision
def jensen_shannon(places: Tensor, whole: Tensor) -> Tensor:
    """Softplus of scores: those of matching images high, those of others low.

    places: `(B, L, D)` features of `L` places an image; whole: `(B, D)` features of the images; the
    score of a pair is their dot product, other images are those of all ranks. All scores 0: 0;
    never below `-2 ln 2`.

    Hjelm et al.: Deep InfoMax (ICLR 2019), eq. 4.
    """
    others = pooled_scores(places, whole, lambda scores: F.softplus(scores).mean(1))
    unlike = others.masked_fill(own_image(others), 0.0).sum() / (others.shape[0] * (others.shape[1] - 1))
    alike = F.softplus(-matching_scores(places, whole)).mean()
    return (unlike - math.log(2)) + (alike - math.log(2))


@full_precision
def donsker_varadhan(places: Tensor, whole: Tensor) -> Tensor:
    """Logarithm of the mean exponential score of other images, less the mean score of matching ones.

    places, whole: as in `jensen_shannon`. All scores 0: 0; there is no floor.

    Hjelm et al.: Deep InfoMax (ICLR 2019), eq. 2.
    """
    others = pooled_scores(places, whole, lambda scores: scores.logsumexp(1))
    total = logsumexp_over_ranks(others.masked_fill(own_image(others), -torch.inf).flatten())
    pairs = others.shape[1] * (others.shape[1] - 1) * places.shape[1]
    return total - math.log(pairs) - matching_scores(places, whole).mean()


@full_precision
def local_info_nce(places: Tensor, whole: Tensor) -> Tensor:
    """Cross entropy of each place of an image against all places of all other images, given the whole.

    places, whole: as in `jensen_shannon`. The other places of the same image are no negatives.
    All scores 0, with `N` images on all ranks: `ln(1 + (N - 1) L)`.

    Hjelm et al.: Deep InfoMax (ICLR 2019), eq. 5.
    """
    others = pooled_scores(places, whole, lambda scores: scores.logsumexp(1))
    negatives = logsumexp_over_ranks(others.masked_fill(own_image(others), -torch.inf))
    mine = negatives.tensor_split(world_size())[rank()]
    return F.softplus(mine[:, None] - matching_scores(places, whole)).mean()


def matching_scores(places: Tensor, whole: Tensor) -> Tensor:
    """`(B, L)`: of each place with its own image."""
    return torch.einsum("bld,bd->bl", places, whole)


def pooled_scores(places: Tensor, whole: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """`(B, N)`: the scores `(B, L, N)` of this rank's places with the images of all ranks, pooled over
    places by `pool`, a block of images at a time."""
    images = gather(whole)
    return stack_rows(lambda block: pool(block @ images.T), places, columns=places.shape[1] * len(images))


def own_image(pooled: Tensor) -> Tensor:
    """Which of `(B, N)` are of this rank's image itself."""
    image = rank() * len(pooled) + torch.arange(len(pooled), device=pooled.device)
    return image[:, None] == torch.arange(pooled.shape[1], device=pooled.device)


def logsumexp_over_ranks(x: Tensor) -> Tensor:
    """Over the first axis of `x` `(B, ...)` of all ranks, the same on each."""
    largest = reduce_max(x.detach().amax(0))
    return largest + reduce_sum((x - largest).exp().sum(0)).log()
