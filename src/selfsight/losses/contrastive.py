"""Losses that tell the views of one image from those of others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, rank, world_size
from selfsight.losses.blocks import stack_rows, sum_over_rows
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


@full_precision
def cross_view(anchors: Tensor, keys: Tensor, temperature: float = 0.2, labels: Tensor | None = None) -> Tensor:
    """Cross entropy of each anchor's own key against the keys of all images of the batch.

    anchors, keys: `(N, D)` of two views, any norm; detach the side that is a target. The keys are
    those of all ranks; other anchors are no negatives. labels: `(N,)`, -1 where missing; with them the
    keys of a label are all positives, and the loss is the mean over them. All equal: `ln N`.

    Chen, Xie, He: MoCo v3 (ICCV 2021), eq. 1; Dwibedi et al.: NNCLR (ICCV 2021), eq. 3.
    """
    anchors, keys = F.normalize(anchors, dim=-1), gather(F.normalize(keys, dim=-1))
    classes = own_classes(gather(anchors.new_full((len(anchors),), -1) if labels is None else labels))
    itself = rank() * len(anchors) + torch.arange(len(anchors), device=anchors.device)

    def loss(anchors: Tensor, itself: Tensor, keys: Tensor, classes: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        positive = classes[itself][:, None] == classes
        return (similarity.logsumexp(1) - (similarity * positive).sum(1) / positive.sum(1)).sum()

    return sum_over_rows(loss, [anchors, itself], [keys, classes]) / len(anchors)


@full_precision
def dcl(za: Tensor, zb: Tensor, temperature: float = 0.1, sigma: float | None = None) -> Tensor:
    """Contrast without the positive in the denominator, the mean over the `2N` anchors.

    za, zb: `(N, D)` projections of two views, any norm. The negatives of an anchor are both views of
    every other image, on all ranks. sigma: weight the positives by `dcl_weights` (DCLW).
    All equal: `ln(2N - 2)`; the loss may be negative.

    Yeh, Hong, Hsu, Liu, Chen, LeCun: Decoupled Contrastive Learning (ECCV 2022), eq. 6.
    """
    anchors, positives, own, keys = _two_views(za, zb)
    weights = torch.ones_like(positives) if sigma is None else dcl_weights(za, zb, sigma).repeat(2)

    def negatives(anchors: Tensor, own: Tensor, keys: Tensor) -> Tensor:
        return (anchors / temperature @ keys.T).scatter_(1, own, -torch.inf).logsumexp(1).sum()

    return sum_over_rows(negatives, [anchors, own], [keys]) / len(anchors) - (weights * positives).mean() / temperature


@full_precision
@torch.no_grad()
def dcl_weights(za: Tensor, zb: Tensor, sigma: float = 0.5) -> Tensor:
    """Weights `(N,)` of the positives of DCLW, large where views differ; the mean over all ranks is 1.

    Yeh et al.: Decoupled Contrastive Learning (ECCV 2022), section 3.2: two minus a von Mises-Fisher
    density over its mean. No gradient passes.
    """
    agreement = F.cosine_similarity(za, zb, dim=-1) / sigma
    density = (agreement - gather(agreement).logsumexp(0)).exp()
    return 2 - len(agreement) * world_size() * density


@full_precision
def debiased(za: Tensor, zb: Tensor, temperature: float = 0.5, prior: float = 0.1) -> Tensor:
    """NT-Xent that allows for negatives which are of the anchor's class, the mean over the `2N` anchors.

    za, zb: `(N, D)` projections of two views, any norm; prior: the share of such negatives. The sum
    of the negatives, those of all ranks, is corrected by the positive and is at least its smallest
    possible value. Prior 0 is NT-Xent. All equal: `ln(2N - 1)`.

    Chuang, Robinson, Lin, Torralba, Jegelka: Debiased Contrastive Learning (NeurIPS 2020), eq. 7-8 with M = 1.
    """
    anchors, positives, own, keys = _two_views(za, zb)

    def loss(anchors: Tensor, positives: Tensor, own: Tensor, keys: Tensor) -> Tensor:
        negatives = (anchors / temperature @ keys.T).scatter_(1, own, -torch.inf).logsumexp(1)
        return _debiased_entropy(positives, negatives, len(keys) - 2, temperature, prior).sum()

    return sum_over_rows(loss, [anchors, positives, own], [keys]) / len(anchors)


@full_precision
def hard_negatives(za: Tensor, zb: Tensor, temperature: float = 0.5, prior: float = 0.1, beta: float = 1.0) -> Tensor:
    """The debiased loss with negatives weighted by `exp(beta * similarity / temperature)`.

    za, zb: `(N, D)` projections of two views, any norm; prior: as in `debiased`. The weights have a
    mean of one over an anchor's negatives, and pass gradients. Beta 0 is `debiased`. All equal: `ln(2N - 1)`.

    Robinson, Chuang, Sra, Jegelka: Contrastive Learning with Hard Negative Samples (ICLR 2021), eq. 4-5.
    """
    anchors, positives, own, keys = _two_views(za, zb)
    count = len(keys) - 2

    def loss(anchors: Tensor, positives: Tensor, own: Tensor, keys: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        weights = (beta * similarity).scatter_(1, own, -torch.inf).logsumexp(1) - math.log(count)
        negatives = ((1 + beta) * similarity).scatter_(1, own, -torch.inf).logsumexp(1) - weights
        return _debiased_entropy(positives, negatives, count, temperature, prior).sum()

    return sum_over_rows(loss, [anchors, positives, own], [keys]) / len(anchors)


def _debiased_entropy(positives: Tensor, negatives: Tensor, count: int, temperature: float, prior: float) -> Tensor:
    """`-log(p / (p + g))` of each anchor, `p` the positive and `g` the corrected sum of its negatives.

    positives: cosines; negatives: logarithm of the sum over the `count` negatives. All in logarithms:
    `e^negatives - prior * count * e^positives` is `e^negatives` times a share, which is 0 where the
    correction exceeds the sum and the floor holds.
    """
    positives = positives / temperature
    excess = positives + (math.log(prior) if prior else -math.inf) + math.log(count) - negatives
    share = -torch.expm1(excess.clamp(max=0))
    corrected = negatives + share.clamp(min=1e-30).log() - math.log1p(-prior)
    floor = torch.full_like(corrected, math.log(count) - 1 / temperature)
    return F.softplus(torch.maximum(corrected, floor) - positives)


@full_precision
def alignment(za: Tensor, zb: Tensor, alpha: float = 2.0) -> Tensor:
    """Mean distance of two views `(N, D)` on the sphere, to the power `alpha`. All equal: 0.

    Wang, Isola: Alignment and Uniformity on the Hypersphere (ICML 2020), section 4.1.
    """
    squares = (F.normalize(za, dim=-1) - F.normalize(zb, dim=-1)).square().sum(-1)
    # Below 2 the power has an infinite slope at 0.
    return (squares if alpha == 2 else squares.clamp(min=1e-12) ** (alpha / 2)).mean()


@full_precision
def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """Logarithm of the mean of `exp(-t |x - y|^2)` over all pairs of images on all ranks.

    z: `(N, D)` of one view, any norm. All equal: 0, the largest value.

    Wang, Isola: Alignment and Uniformity on the Hypersphere (ICML 2020), section 4.1.
    """
    rows, keys, itself = anchors_and_keys(F.normalize(z, dim=-1)[None])

    def log_sums(rows: Tensor, itself: Tensor) -> Tensor:
        return (2 * t * (rows @ keys.T - 1)).scatter_(1, itself[:, None], -torch.inf).logsumexp(1)

    sums = stack_rows(log_sums, rows, itself, columns=len(keys))
    return gather(sums).logsumexp(0) - math.log(len(keys) * (len(keys) - 1))


def _two_views(za: Tensor, zb: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both views as anchors `(2N, D)`, each one's cosine with its other view `(2N,)`, the positions
    `(2N, 2)` of both views of its image among the keys, and the keys `(2 * W * N, D)`."""
    views = F.normalize(torch.stack([za, zb]), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    positives = (anchors * views.flip(0).flatten(0, 1)).sum(-1)
    other = (itself + len(keys) // 2) % len(keys)
    return anchors, positives, torch.stack([itself, other], 1), keys


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
