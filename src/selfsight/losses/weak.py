"""Contrastive losses with a margin, and with positives by degree: by class, or by how near a number is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, reduce_sum
from selfsight.losses.blocks import stack_rows, sum_over_rows
from selfsight.losses.contrastive import anchors_and_keys, own_classes
from selfsight.losses.kernels import kernel_weights
from selfsight.precision import full_precision

SMALLEST_VARIANCE = 1e-6
FEWEST_PAIRS = 2


@full_precision
def eps_infonce(za: Tensor, zb: Tensor, temperature: float = 0.07, epsilon: float = 0.25) -> Tensor:
    """Cross entropy of two views that asks the positive to lead every negative by a margin.

    za, zb: `(N, D)` projections of two views, any norm; epsilon: the margin, on similarities over the
    temperature. The mean runs over all `2N` anchors of all ranks. epsilon 0 is `nt_xent`; the larger it is,
    the less the positive counts in the denominator. All equal: `ln(2N - 2 + exp(-epsilon))`.

    Barbano, Dufumier, Tartaglione, Grangetto, Gori: Unbiased Supervised Contrastive Learning (ICLR 2023).
    """
    views = F.normalize(torch.stack([za, zb]), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    other = (itself + len(keys) // 2) % len(keys)

    def loss(anchors: Tensor, itself: Tensor, other: Tensor, keys: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        positive = similarity.gather(1, other[:, None])
        competing = similarity.scatter(1, other[:, None], positive - epsilon)
        return (competing.scatter(1, itself[:, None], -torch.inf).logsumexp(1) - positive[:, 0]).sum()

    return sum_over_rows(loss, [anchors, itself, other], [keys]) / len(anchors)


@full_precision
def eps_supcon(
    z: Tensor | Sequence[Tensor], labels: Tensor, temperature: float = 0.07, epsilon: float = 0.25
) -> Tensor:
    """Supervised contrastive loss in which every positive leads every negative by a margin.

    z: `(V, B, D)` or `V` tensors `(B, D)`, any norm; labels: `(B,)` integers, -1 where missing: such an image
    has its own other views as its only positives. All positives stand in the denominator, times
    `exp(-epsilon)`. The mean runs over all `V * B` anchors of all ranks; one without positives contributes
    0. epsilon 0 is `supcon`. All equal: the mean of `ln(negatives + positives * exp(-epsilon))`.

    Barbano et al.: Unbiased Supervised Contrastive Learning (ICLR 2023).
    """

    def terms(similarity: Tensor, positive: Tensor, others: Tensor) -> Tensor:
        competing = (similarity - epsilon * positive).masked_fill(~others, -torch.inf)
        return competing.logsumexp(1, keepdim=True) - similarity

    return _mean_over_class(terms, z, labels, temperature)


@full_precision
def eps_supinfonce(
    z: Tensor | Sequence[Tensor], labels: Tensor, temperature: float = 0.07, epsilon: float = 0.25
) -> Tensor:
    """Supervised contrastive loss in which each positive alone leads every negative by a margin.

    As `eps_supcon`, but the denominator of a positive holds the negatives and that positive times
    `exp(-epsilon)`, so that positives do not push each other away.
    All equal: the mean of `ln(negatives + exp(-epsilon))`.

    Barbano et al.: Unbiased Supervised Contrastive Learning (ICLR 2023).
    """

    def terms(similarity: Tensor, positive: Tensor, others: Tensor) -> Tensor:
        negatives = similarity.masked_fill(positive | ~others, -torch.inf)
        return torch.logaddexp(similarity - epsilon, negatives.logsumexp(1, keepdim=True)) - similarity

    return _mean_over_class(terms, z, labels, temperature)


@full_precision
def y_aware(
    z: Tensor | Sequence[Tensor],
    values: Tensor,
    temperature: float = 0.1,
    kernel: str = "rbf",
    bandwidth: float | Sequence[float] = 1.0,
) -> Tensor:
    """Contrastive loss whose positives count by a kernel of what is known about the images.

    z: `(V, B, D)` or `V` tensors `(B, D)`, any norm; values: `(B,)` or `(B, C)` numbers, NaN where missing: such
    an image has its own other views as its only positives, and is nobody else's. kernel, bandwidth: see
    `kernel_weights`; an anchor's weights are divided by their sum. The mean runs over all `V * B` anchors
    of all ranks. A kernel that is 1 within a class and else 0 gives `supcon`. All equal: `ln(VB - 1)`.

    Dufumier et al.: Contrastive Learning with Continuous Proxy Meta-Data for 3D MRI Classification
    (MICCAI 2021), eq. 2. The sum is over an anchor's own weights; the authors' code takes another's.
    """

    def terms(similarity: Tensor, weights: Tensor, itself: Tensor) -> Tensor:
        return similarity.scatter(1, itself[:, None], -torch.inf).logsumexp(1, keepdim=True) - similarity

    return _mean_over_weights(terms, z, values, temperature, kernel, bandwidth)


@full_precision
def regression_thr(
    z: Tensor | Sequence[Tensor],
    values: Tensor,
    temperature: float = 0.1,
    kernel: str = "rbf",
    bandwidth: float | Sequence[float] = 1.0,
) -> Tensor:
    """As `y_aware`, but a positive competes only with images that weigh less than itself.

    A positive than which nothing weighs less contributes 0. Each row of weights is sorted, so that the
    denominators of all positives are running sums. All equal: the weighted mean of `ln(lighter images)`.

    Barbano, Dufumier, Duchesnay, Grangetto, Gori: Contrastive Learning for Regression in Multi-Site Brain
    Age Prediction (ISBI 2023), L^thr. Weights are divided by their sum over the whole row: by that over the
    lighter images alone, as one reads there, the least similar positive would count without bound.
    """

    def terms(similarity: Tensor, weights: Tensor, itself: Tensor) -> Tensor:
        keyed = weights.scatter(1, itself[:, None], torch.inf)  # last, where it is in nobody's running sum
        ascending, order = keyed.sort(1)
        running = similarity.gather(1, order).logcumsumexp(1)
        lighter = torch.searchsorted(ascending, keyed.contiguous())
        competing = running.gather(1, (lighter - 1).clamp(min=0))
        return (competing - similarity) * (lighter > 0)

    return _mean_over_weights(terms, z, values, temperature, kernel, bandwidth)


@full_precision
def regression_exp(
    z: Tensor | Sequence[Tensor],
    values: Tensor,
    temperature: float = 0.1,
    kernel: str = "rbf",
    bandwidth: float | Sequence[float] = 1.0,
) -> Tensor:
    """As `y_aware`, but images are pushed away in proportion to how little they weigh, `exp(s_t (1 - w_t))`.

    The denominator of a positive leaves out the positive itself; there must be two images or more.
    All equal: the weighted mean of `ln(sum of exp((1 - w_t) / temperature)) - 1 / temperature`.

    Barbano et al.: Contrastive Learning for Regression in Multi-Site Brain Age Prediction (ISBI 2023), L^exp.
    The largest exponent is subtracted after the product; before it, as in the authors' code, is another loss.
    """

    def terms(similarity: Tensor, weights: Tensor, itself: Tensor) -> Tensor:
        repelled = (similarity * (1 - weights)).scatter(1, itself[:, None], -torch.inf)
        # all without k is all times (1 - share of k): exact but for the largest, which is left out by itself
        largest = repelled.argmax(1, keepdim=True)
        total = repelled.logsumexp(1, keepdim=True)
        share = (repelled - total).exp().scatter(1, largest, 0.0)
        without_largest = repelled.scatter(1, largest, -torch.inf).logsumexp(1, keepdim=True)
        competing = (total + torch.log1p(-share)).scatter(1, largest, without_largest)
        return competing - similarity

    return _mean_over_weights(terms, z, values, temperature, kernel, bandwidth)


@full_precision
def fair_kl(
    z: Tensor | Sequence[Tensor], labels: Tensor, bias: Tensor, form: Literal["kl", "moments"] = "kl"
) -> Tensor:
    """How differently images of one bias and of two lie apart, within classes and between them.

    z: `(V, B, D)` or `V` tensors `(B, D)`, any norm; labels, bias: `(B,)` integers, -1 where missing: such an
    image is left out. Cosine distances of pairs of different images of one class are taken as two
    Gaussians, of pairs that share the bias and of pairs that do not, and their Kullback-Leibler divergence
    is added to that of the pairs of different classes; pairs of all ranks count. A divergence with fewer
    than two pairs on either side is 0, and variances are at least 1e-6. All equal: 0.

    form: "kl" is the paper's. Its variances stand in a denominator, so that it is noisy where a batch holds few
    images whose bias is not their class's; "moments", the squared differences of the means and of the standard
    deviations, is not. So does the authors' code, with the zeros of pairs of other kinds among the distances
    and two terms more, which are left out here.

    Barbano et al.: Unbiased Supervised Contrastive Learning (ICLR 2023), section 3.3.
    """
    if form not in ("kl", "moments"):
        raise ValueError(f"form is {form!r}: use 'kl' or 'moments'")
    views = F.normalize(z if isinstance(z, Tensor) else torch.stack(list(z)), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    image, images = itself % (len(keys) // len(views)), len(keys) // len(views)
    label, group = gather(labels), gather(bias)
    known = (label >= 0) & (group >= 0)
    everyone = torch.arange(images, device=keys.device)

    def kinds(image: Tensor) -> Tensor:
        """`(R, N)` of images: 0 same class and bias, 1 same class, 2 same bias, 3 neither, 4 no pair."""
        valid = known[image][:, None] & known & (image[:, None] != everyone)
        other_class, other_bias = label[image][:, None] != label, group[image][:, None] != group
        return (2 * other_class + other_bias.long()).masked_fill(~valid, 4)

    def count_kinds(anchors: Tensor, image: Tensor) -> Tensor:
        """`(R, 4)` numbers of pairs."""
        return _by_kind(torch.full((len(image), images), float(len(views))).to(anchors), kinds(image))

    def total(centre: Tensor) -> Tensor:
        """Sums, and sums of squares, `(8)`, of distances from each kind's centre."""

        def moments(anchors: Tensor, image: Tensor) -> Tensor:
            kind = kinds(image)
            distance = (1 - anchors @ keys.T).unflatten(1, (len(views), images))
            offset = distance - F.pad(centre, (0, 1))[kind][:, None]
            return torch.cat([_by_kind(offset.sum(1), kind), _by_kind(offset.square().sum(1), kind)], 1)

        return reduce_sum(stack_rows(moments, anchors, image, columns=len(keys)).sum(0))

    with torch.no_grad():
        count = reduce_sum(stack_rows(count_kinds, anchors, image, columns=len(keys)).sum(0))
        pairs = count.clamp(min=1)
        centre = total(anchors.new_zeros(4))[:4] / pairs
    offset, square = (total(centre) / pairs.repeat(2)).chunk(2)  # offset is 0, with the gradient of the mean
    mean = centre + offset
    variance = (square - offset.square()).clamp(min=SMALLEST_VARIANCE)
    aligned, conflicting = slice(0, None, 2), slice(1, None, 2)
    compare = _gaussian_divergence if form == "kl" else _moment_difference
    divergence = compare(mean[aligned], variance[aligned], mean[conflicting], variance[conflicting])
    enough = torch.minimum(count[aligned], count[conflicting]) >= 2 * FEWEST_PAIRS  # each pair stands there twice
    return torch.where(enough, divergence, 0.0).sum()


def _by_kind(values: Tensor, kind: Tensor) -> Tensor:
    """`(R, 4)` sums of each row's values of each kind; both are `(R, N)`."""
    return torch.stack([values.masked_fill(kind != number, 0.0).sum(1) for number in range(4)], 1)


def _gaussian_divergence(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a Gaussian from another."""
    ratio = variance / other_variance
    return (ratio + (mean - other_mean).square() / other_variance - ratio.log() - 1) / 2


def _moment_difference(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """Squared distance of two Gaussians' means and standard deviations."""
    return (mean - other_mean).square() + (variance.sqrt() - other_variance.sqrt()).square()


def _mean_over_class(
    terms: Callable[[Tensor, Tensor, Tensor], Tensor],
    z: Tensor | Sequence[Tensor],
    labels: Tensor,
    temperature: float,
) -> Tensor:
    """The mean over anchors of the mean over positives of `terms(similarity, positive, others)`, all `(R, N)`."""
    views = F.normalize(z if isinstance(z, Tensor) else torch.stack(list(z)), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    classes = own_classes(gather(labels)).repeat(len(views))

    def loss(anchors: Tensor, itself: Tensor, keys: Tensor, classes: Tensor) -> Tensor:
        similarity = anchors / temperature @ keys.T
        others = torch.ones_like(similarity, dtype=torch.bool).scatter_(1, itself[:, None], False)
        positive = (classes[itself][:, None] == classes) & others
        wanted = terms(similarity, positive, others).masked_fill(~positive, 0.0)
        return (wanted.sum(1) / positive.sum(1).clamp(min=1)).sum()

    return sum_over_rows(loss, [anchors, itself], [keys, classes]) / len(anchors)


def _mean_over_weights(
    terms: Callable[[Tensor, Tensor, Tensor], Tensor],
    z: Tensor | Sequence[Tensor],
    values: Tensor,
    temperature: float,
    kernel: str,
    bandwidth: float | Sequence[float],
) -> Tensor:
    """The mean over anchors of the mean, by the kernel's weights, of `terms(similarity, weights, itself)`."""
    views = F.normalize(z if isinstance(z, Tensor) else torch.stack(list(z)), dim=-1)
    anchors, keys, itself = anchors_and_keys(views)
    values = gather(values.detach().to(views.dtype))
    values = values[:, None] if values.ndim == 1 else values
    known = ~values.isnan().any(1)
    values = values.nan_to_num()
    image = itself % len(values)

    def weigh(image: Tensor) -> Tensor:
        """Weights `(R, VN)`, of an image without a value for its own views alone."""
        own = image[:, None] == torch.arange(len(values), device=image.device)
        allowed = (known[image][:, None] & known) | own
        return (kernel_weights(values[image], values, kernel, bandwidth) * allowed).repeat(1, len(views))

    def loss(anchors: Tensor, itself: Tensor, image: Tensor, keys: Tensor) -> Tensor:
        similarity, weights = anchors / temperature @ keys.T, weigh(image)
        positive = weights.scatter(1, itself[:, None], 0.0)
        wanted = terms(similarity, weights, itself).masked_fill(positive == 0, 0.0) * positive
        return (wanted.sum(1) / positive.sum(1).clamp(min=torch.finfo(weights.dtype).tiny)).sum()

    return sum_over_rows(loss, [anchors, itself, image], [keys]) / len(anchors)
