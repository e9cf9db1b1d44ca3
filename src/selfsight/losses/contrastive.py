"""Losses that tell the views of one image from those of others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, rank
from selfsight.losses.blocks import sum_over_rows
from selfsight.precision import full_precision


@full_precision
def nt_xent(za: Tensor, zb: Tensor, temperature: float = 0.5) -> Tensor:
    """Normalised temperature-scaled cross entropy, the mean over the `2N` anchors.

    za, zb: `(N, D)` projections of two views, any norm. The negatives of an anchor are all
    other views of the batch on all ranks. All equal: `ln(2N - 1)`.

    Chen, Kornblith, Norouzi, Hinton: SimCLR (ICML 2020), eq. 1.
    """
    views = F.normalize(torch.stack([za, zb]), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    positives = (anchors * views.flip(0).flatten(0, 1)).sum(-1) / temperature

    def loss(anchors: Tensor, positives: Tensor, itself: Tensor, keys: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        return (similarity.scatter_(1, itself[:, None], -torch.inf).logsumexp(1) - positives).sum()

    return sum_over_rows(loss, [anchors, positives, itself], [keys]) / len(anchors)


@full_precision
def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float = 0.2) -> Tensor:
    """Cross entropy of each query's key against a queue of other keys.

    q, k: `(N, D)` queries and their keys, any norm, no gradient into the keys;
    queue: `(K, D)` former keys of unit norm, the same on all ranks. All equal: `ln(K + 1)`.

    He, Fan, Wu, Xie, Girshick: MoCo (CVPR 2020), eq. 1.
    """
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1).detach()
    positives = (q * k).sum(-1, keepdim=True) / temperature

    def loss(q: Tensor, positives: Tensor, queue: Tensor) -> Tensor:
        return (torch.cat([positives, q / temperature @ queue.T], 1).logsumexp(1) - positives[:, 0]).sum()

    return sum_over_rows(loss, [q, positives], [queue]) / len(q)


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
    anchors, keys, itself = anchors_and_keys(views)
    classes = own_classes(gather(labels)).repeat(len(views))

    def loss(anchors: Tensor, itself: Tensor, keys: Tensor, classes: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        partition = similarity.scatter(1, itself[:, None], -torch.inf).logsumexp(1, keepdim=True)
        positive = (classes[itself][:, None] == classes).scatter_(1, itself[:, None], False)
        return (((partition - similarity) * positive).sum(1) / positive.sum(1).clamp_(min=1)).sum()

    mean = sum_over_rows(loss, [anchors, itself], [keys, classes]) / len(anchors)
    return mean if base_temperature is None else mean * (temperature / base_temperature)


def anchors_and_keys(views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's views `(V, B, D)` as anchors `(V * B, D)`, those of all ranks as keys
    `(V * W * B, D)`, both view after view, and the position of each anchor among the keys."""
    count, batch = views.shape[:2]
    keys = gather(views.transpose(0, 1)).transpose(0, 1)
    image = rank() * batch + torch.arange(batch, device=views.device)
    view = keys.shape[1] * torch.arange(count, device=views.device)
    return views.flatten(0, 1), keys.flatten(0, 1), (view[:, None] + image).flatten()


def own_classes(labels: Tensor) -> Tensor:
    """Labels `(N,)` of all ranks in which every missing one, -1, is a class of its own."""
    alone = -1 - torch.arange(len(labels), device=labels.device)
    return torch.where(labels < 0, alone, labels)
