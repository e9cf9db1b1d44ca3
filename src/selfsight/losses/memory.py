"""Losses against a memory of all images, and against all patches of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, rank, world_size
from selfsight.losses.blocks import stack_rows, sum_over_rows
from selfsight.precision import full_precision


@full_precision
def instance_softmax(v: Tensor, index: Tensor, bank: Tensor, temperature: float = 0.07) -> Tensor:
    """Cross entropy of each embedding's own row among all rows of a bank.

    v: `(N, D)` embeddings, any norm; index: `(N,)` their rows; bank: `(n, D)` of unit norm, the same on
    all ranks, no gradient into it. All equal: `ln n`.

    Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination
    (CVPR 2018), eq. 2.
    """
    v, bank = F.normalize(v, dim=-1), bank.detach()
    own = (v * bank.index_select(0, index)).sum(-1) / temperature

    def loss(v: Tensor, own: Tensor, bank: Tensor) -> Tensor:
        return ((v / temperature @ bank.T).logsumexp(1) - own).sum()

    return sum_over_rows(loss, [v, own], [bank]) / len(v)


@full_precision
def instance_nce(
    v: Tensor, positives: Tensor, noise: Tensor, samples: int, log_partition: Tensor | float, temperature: float = 0.07
) -> Tensor:
    """Noise-contrastive estimation: tell an embedding's memory from memories drawn at random.

    v: `(N, D)` embeddings, any norm; positives: `(N, D)` their memories; noise: `(K, D)` memories drawn
    uniformly from those of `samples` images, the same on all ranks. Memories are of unit norm and receive
    no gradient. log_partition: `ln Z`, so that `P = exp(v · m / temperature) / Z`. With `h = P / (P + K / n)`
    the loss is `-ln h` of the positive minus the sum of `ln(1 - h)` over the noise.
    All equal, with `Z` of such a batch: `ln(K + 1) + K ln(1 + 1 / K)`.

    Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination
    (CVPR 2018), eq. 4-7.
    """
    v, positives, noise = F.normalize(v, dim=-1), positives.detach(), noise.detach()
    offset = log_partition + log(len(noise) / samples)
    own = (v * positives).sum(-1) / temperature - offset  # the log odds of h

    def loss(v: Tensor, own: Tensor, noise: Tensor) -> Tensor:
        return F.softplus(-own).sum() + F.softplus(v / temperature @ noise.T - offset).sum()

    return sum_over_rows(loss, [v, own], [noise]) / len(v)


@torch.no_grad()
@full_precision
def log_partition(v: Tensor, noise: Tensor, samples: int, temperature: float = 0.07) -> Tensor:
    """`ln Z` for `instance_nce`, estimated from a batch of all ranks and its noise: `n` times the mean of
    `exp(v · m / temperature)`.

    Wu, Xiong, Yu, Lin: NPID (CVPR 2018), eq. 8.
    """
    v = F.normalize(v, dim=-1)
    each = stack_rows(lambda v: (v / temperature @ noise.T).logsumexp(1), v, columns=len(noise))
    together = gather(each.logsumexp(0, keepdim=True)).logsumexp(0)
    return together + log(samples / (len(noise) * len(v) * world_size()))


@full_precision
def patch_nce(predictions: Tensor, patches: Tensor, places: Sequence[int] | Tensor, scale: float = 0.1) -> Tensor:
    """Cross entropy of each prediction's patch among all patches of all images of all ranks.

    predictions: `(B, M, D)`, any norm; patches: `(B, N, D)` of the same images; places: `(M,)` which of its
    image's patches each prediction means; scale: of the dot products. The mean runs over the `B * M`
    predictions. All equal: `ln(B * N)`.

    Hénaff et al.: Data-Efficient Image Recognition with Contrastive Predictive Coding (ICML 2020), eq. 1.
    """
    batch, count, width = patches.shape
    place = torch.as_tensor(places, device=patches.device)
    image = torch.arange(batch, device=patches.device)[:, None]
    own = (rank() * batch + image) * count + place
    keys = gather(patches).reshape(-1, width)
    anchors = predictions.reshape(-1, width) * scale

    def loss(anchors: Tensor, own: Tensor, keys: Tensor) -> Tensor:
        similarity = anchors @ keys.T
        return (similarity.logsumexp(1) - similarity.gather(1, own[:, None])[:, 0]).sum()

    return sum_over_rows(loss, [anchors, own.flatten()], [keys]) / len(anchors)
