"""Losses on the statistics of embeddings: invariant, spread out, decorrelated."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, reduce_mean, reduce_sum, world_size
from selfsight.precision import full_precision


@full_precision
def barlow_twins(za: Tensor, zb: Tensor, off_diagonal: float = 0.0051) -> Tensor:
    """Distance of the views' cross-correlation, over the batch of all ranks, from the identity.

    za, zb: `(N, D)`. Summed over the `D x D` entries, those off the diagonal weighted by
    `off_diagonal`; standardised with the biased variance plus 1e-5, as batch norm does.

    Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins (ICML 2021), eq. 1.
    """
    count = len(za) * world_size()
    a, b = standardise(za), standardise(zb)
    correlation = reduce_mean((a * b).mean(0))
    return (correlation - 1).square().sum() + off_diagonal * _off_diagonal_energy(a, b) / count**2


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
    return _off_diagonal_energy(centred, centred) / (len(z) * world_size() - 1) ** 2 / z.shape[1]


def _centre(z: Tensor) -> Tensor:
    return z - reduce_mean(z.mean(0))


@full_precision
def standardise(z: Tensor) -> Tensor:
    """`z` `(..., D)` with mean 0 and variance 1 in each of `D` over all else, on all ranks.

    The variance is the biased one plus 1e-5, as in batch norm.
    """
    others = tuple(range(z.ndim - 1))
    centred = z - reduce_mean(z.mean(others))
    return centred * (reduce_mean(centred.square().mean(others)) + 1e-5).rsqrt()


def _off_diagonal_energy(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the squared off-diagonal entries of `a.T @ b` `(D, D)`, its rows those of all ranks.

    A batch smaller than `D` never builds that matrix: `|a.T b|^2` is the inner product of `a a.T`
    and `b b.T`. (With as many rows the difference to the diagonal's share could cancel.)
    """
    size = a.shape[1]
    if len(a) * world_size() < size:
        rows_a = gather(a)
        rows_b = rows_a if b is a else gather(b)
        diagonal = (rows_a * rows_b).sum(0)
        return ((rows_a @ rows_a.T) * (rows_b @ rows_b.T)).sum() - diagonal.square().sum()
    matrix = reduce_sum(a.T @ b)
    off_diagonal = matrix.flatten()[:-1].view(size - 1, size + 1)[:, 1:]
    return off_diagonal.square().sum()
