"""Losses on the statistics of embeddings: invariant, spread out, decorrelated."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import reduce_mean, reduce_sum, world_size
from selfsight.precision import full_precision


@full_precision
def barlow_twins(za: Tensor, zb: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    """Distance of the views' cross-correlation, over the batch of all ranks, from the identity.

    za, zb: `(N, D)`. Summed over the `D x D` entries, those off the diagonal weighted by
    `off_diagonal`; standardised with the biased variance plus 1e-5, as batch norm does.

    Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins (ICML 2021), eq. 1.
    """
    correlation = reduce_sum(_standardise(za).T @ _standardise(zb)) / (len(za) * world_size())
    on_diagonal = (correlation.diagonal() - 1).square().sum()
    return on_diagonal + off_diagonal * _off_diagonal(correlation).square().sum()


@full_precision
def vicreg(za: Tensor, zb: Tensor, margin: float = 1.0, eps: float = 1e-4) -> dict[str, Tensor]:
    """The three terms, unweighted, over the batch of all ranks; za, zb: `(N, D)`.

    `invariance` is the mean squared difference; `variance` the mean hinge of both views, half
    of the paper's sum as in the authors' code; `covariance` the sum over both views of the
    squared off-diagonal covariances divided by `D`.

    Bardes, Ponce, LeCun: VICReg (ICLR 2022), eq. 1-6.
    """
    return {
        "invariance": F.mse_loss(za, zb),
        "variance": (variance_hinge(za, margin, eps) + variance_hinge(zb, margin, eps)) / 2,
        "covariance": covariance(za) + covariance(zb),
    }


@full_precision
def variance_hinge(z: Tensor, margin: float = 1.0, eps: float = 1e-4) -> Tensor:
    """Mean over dimensions of `relu(margin - std)` of `(N, D)` over all ranks, `std` being
    `sqrt(unbiased variance + eps)`, whose gradient stays finite where a dimension collapsed."""
    count = len(z) * world_size()
    variance = reduce_sum(_centre(z).square().sum(0)) / (count - 1)
    return F.relu(margin - (variance + eps).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances of `(N, D)` over all ranks, divided by `D`."""
    centred = _centre(z)
    matrix = reduce_sum(centred.T @ centred) / (len(z) * world_size() - 1)
    return _off_diagonal(matrix).square().sum() / z.shape[1]


def _centre(z: Tensor) -> Tensor:
    return z - reduce_mean(z.mean(0))


def _standardise(z: Tensor) -> Tensor:
    centred = _centre(z)
    return centred * (reduce_mean(centred.square().mean(0)) + 1e-5).rsqrt()


def _off_diagonal(matrix: Tensor) -> Tensor:
    """All but the diagonal of `(D, D)`, as a view `(D - 1, D)`."""
    size = len(matrix)
    return matrix.flatten()[:-1].view(size - 1, size + 1)[:, 1:]
