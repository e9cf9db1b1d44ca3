"""Losses that tell the views of one image from those of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from selfsight.distributed import gather, rank
from selfsight.precision import full_precision

LARGEST_MATRIX = 2**25
"""Similarities held at once; above it they are computed in blocks of rows, and again in backward."""


@full_precision
def nt_xent(za: Tensor, zb: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross entropy, the mean over the `2N` anchors.

    za, zb: `(N, D)` projections of two views, any norm. The negatives of an anchor are all
    other views of the batch on all ranks. All equal: `ln(2N - 1)`.

    Chen, Kornblith, Norouzi, Hinton: SimCLR (ICML 2020), eq. 1.
    """
    views = F.normalize(torch.stack([za, zb]), dim=-1)
    anchors, keys, itself = _anchors_and_keys(views)
    positives = (anchors * views.flip(0).flatten(0, 1)).sum(-1) / temperature

    def log_partition(anchors: Tensor, itself: Tensor) -> Tensor:
        similarity = anchors @ keys.T / temperature
        return similarity.scatter(1, itself[:, None], -torch.inf).logsumexp(1)

    return (_in_blocks(log_partition, len(keys), anchors, itself) - positives).mean()


@full_precision
def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """Cross entropy of each query's key against a queue of other keys.

    q, k: `(N, D)` queries and their keys, any norm, no gradient into the keys;
    queue: `(K, D)` former keys of unit norm, the same on all ranks. All equal: `ln(K + 1)`.

    He, Fan, Wu, Xie, Girshick: MoCo (CVPR 2020), eq. 1.
    """
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1).detach()
    positive = (q * k).sum(-1, keepdim=True)

    def log_partition(q: Tensor, positive: Tensor) -> Tensor:
        return (torch.cat([positive, q @ queue.T], 1) / temperature).logsumexp(1)

    return (_in_blocks(log_partition, len(queue), q, positive) - positive[:, 0] / temperature).mean()


@full_precision
def supcon(
    z: Tensor | Sequence[Tensor],
    labels: Tensor,
    temperature: float = 0.1,
    base_temperature: float | None = None,
) -> Tensor:
    """Supervised contrastive loss with the mean over positives outside the logarithm.

    z: `(V, B, D)` or `V` tensors `(B, D)`, any norm; labels: `(B,)` integers, -1 where
    missing: such an image has its own other views as its only positives. The mean runs over
    all `V * B` anchors of all ranks; one without positives contributes 0. The authors' code
    multiplies by `temperature / base_temperature` with .07; here None leaves that out.

    Khosla et al.: Supervised contrastive learning (NeurIPS 2020), eq. 2 (L_out).
    """
    views = F.normalize(z if isinstance(z, Tensor) else torch.stack(list(z)), dim=-1)
    anchors, keys, itself = _anchors_and_keys(views)
    labels = gather(labels)
    alone = -1 - torch.arange(len(labels), device=labels.device)
    key_labels = torch.where(labels < 0, alone, labels).repeat(len(views))

    def mean_log_likelihood(anchors: Tensor, itself: Tensor) -> Tensor:
        similarity = anchors @ keys.T / temperature
        others = similarity.scatter(1, itself[:, None], -torch.inf)
        positive = (key_labels[itself][:, None] == key_labels).scatter(1, itself[:, None], False)
        log_likelihood = similarity - others.logsumexp(1, keepdim=True)
        return (log_likelihood * positive).sum(1) / positive.sum(1).clamp(min=1)

    loss = -_in_blocks(mean_log_likelihood, len(keys), anchors, itself).mean()
    return loss if base_temperature is None else loss * (temperature / base_temperature)


def _anchors_and_keys(views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's views `(V, B, D)` as anchors `(V * B, D)`, those of all ranks as keys
    `(V * W * B, D)`, both view after view, and the position of each anchor among the keys."""
    count, batch = views.shape[:2]
    keys = gather(views.transpose(0, 1)).transpose(0, 1)
    image = rank() * batch + torch.arange(batch, device=views.device)
    view = keys.shape[1] * torch.arange(count, device=views.device)
    return views.flatten(0, 1), keys.flatten(0, 1), (view[:, None] + image).flatten()


def _in_blocks(function: Callable[..., Tensor], columns: int, *rows: Tensor) -> Tensor:
    """`function(*rows)`, where `function` answers row by row and builds a matrix with that many
    columns on the way: never more than `LARGEST_MATRIX` of it at once, in backward neither."""
    height = max(1, LARGEST_MATRIX // columns)
    if len(rows[0]) <= height:
        return function(*rows)
    blocks = zip(*(tensor.split(height) for tensor in rows), strict=True)
    return torch.cat([checkpoint(function, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks])
