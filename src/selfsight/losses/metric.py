"""Losses on distances between views of the same class and of others: metric learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.distributed import gather, rank, reduce_mean
from selfsight.losses.blocks import stack_rows, sum_over_rows
from selfsight.losses.contrastive import anchors_and_keys, own_classes
from selfsight.precision import full_precision

MINING = ("semi_hard", "hard", "all")
CLOSEST = 1e-7  # squared distance on the sphere below which float32 knows no direction
NEAREST_DRAWN, FARTHEST_DRAWN = 0.5, 1.4  # distances between which negatives are told apart by their density


@full_precision
def triplet(
    z: Tensor | Sequence[Tensor],
    labels: Tensor | None = None,
    margin: float = 0.2,
    mining: str = "semi_hard",
    smooth: bool = False,
) -> Tensor:
    """Hinge on how much farther a negative is from an anchor than a positive, `[d_ap - d_an + margin]_+`.

    z: `(V, B, D)` or `V` tensors `(B, D)`, any norm, compared by Euclidean distance on the unit
    sphere; labels: `(B,)` integers, -1 where missing: such an image is a class of its own, as all
    images are with None. mining: "all" triplets; "semi_hard" ones, `d_ap < d_an < d_ap + margin`;
    "hard", of each anchor its farthest positive and nearest negative. smooth: softplus for the hinge.
    The mean runs over the triplets of all ranks with a loss above 0. All equal: `margin`, except
    for "semi_hard", which then finds no triplet and is 0.

    With labels and `smooth`, all triplets are formed, in blocks: their number is cubic in the batch.
    Schroff, Kalenichenko, Philbin: FaceNet (CVPR 2015), section 3; Hermans, Beyer, Leibe: In Defense
    of the Triplet Loss (2017), eq. 5 for "hard".
    """
    if mining not in MINING:
        raise ValueError(f"mining is one of {', '.join(MINING)}, not {mining!r}")
    these = compare(z, labels, normalise=True)
    sorts = mining != "hard" and not smooth

    def sums(anchors: Tensor, itself: Tensor, relatives: Tensor) -> Tensor:
        d, positive, negative = these.distances(anchors, itself)
        d_ap, positive = d.gather(1, relatives), positive.gather(1, relatives)
        if sorts:
            return sorted_hinges(d_ap, positive, d, negative, margin, semi_hard=mining == "semi_hard")
        if mining == "hard":
            d_ap = d_ap.masked_fill(~positive, 0.0).amax(1, keepdim=True)
            d = d.masked_fill(~negative, 2.0).amin(1, keepdim=True)
            positive, negative = positive.any(1, keepdim=True), negative.any(1, keepdim=True)
        lead = d_ap[:, :, None] - d[:, None, :]
        chosen = positive[:, :, None] & negative[:, None, :]
        if mining == "semi_hard":
            chosen = chosen & (lead < 0) & (lead > -margin)
        loss = F.softplus(lead + margin) if smooth else F.relu(lead + margin)
        return per_row(loss * chosen, chosen & (loss > 0))

    columns = len(these.keys) * (1 if sorts or mining == "hard" else these.relatives.shape[1])
    rows = (these.anchors, these.itself, these.relatives)
    return mean_of_counted(stack_rows(sums, *rows, columns=columns))


def sorted_hinges(
    d_ap: Tensor, positive: Tensor, d: Tensor, negative: Tensor, margin: float, *, semi_hard: bool
) -> Tensor:
    """Sum and number of the hinges above 0 of each anchor, `(R, 2)`, without its triplets one by one.

    Of sorted negatives those that a positive `d_ap` `(R, P)` reaches lie together: they are counted by a
    search, and their distances summed by a difference of running sums.
    """
    ordered = d.masked_fill(~negative, torch.inf).sort(1).values
    running = F.pad(ordered.cumsum(1), (1, 0))
    reach = d_ap + margin
    with torch.no_grad():
        last = torch.searchsorted(ordered, reach)
        first = torch.searchsorted(ordered, d_ap, right=True) if semi_hard else torch.zeros_like(last)
        count = last - first
    hinges = count * reach - (running.gather(1, last) - running.gather(1, first))
    return per_row(hinges.masked_fill(~positive, 0.0), count * positive)


@full_precision
def margin(
    z: Tensor | Sequence[Tensor],
    labels: Tensor | None = None,
    beta: Tensor | float = 1.2,
    margin: float = 0.2,
    regulariser: float = 0.0,
) -> Tensor:
    """Positives nearer than `beta - margin`, negatives farther than `beta + margin`.

    z, labels: as in `triplet`. beta: the boundary, which may be learned; `regulariser * beta` is
    added. The paper draws a negative for each positive pair, with probabilities inverse to how many
    points a sphere has at its distance, so that all distances take part alike; here each negative
    counts by that probability, which is the mean over all draws and needs no random numbers.
    The sum is divided by the number of terms above 0, in the same mean. All equal: `beta + margin`.

    Wu, Manmatha, Smola, Krahenbuhl: Sampling Matters in Deep Embedding Learning (ICCV 2017),
    section 4.
    """
    these = compare(z, labels, normalise=True)
    boundary = torch.as_tensor(beta, dtype=these.anchors.dtype, device=these.anchors.device)

    def sums(anchors: Tensor, itself: Tensor) -> Tensor:
        d, positive, negative = these.distances(anchors, itself)
        weights = distance_weights(d.detach(), negative, anchors.shape[1])
        drawable = weights.sum(1, keepdim=True) > 0
        near, far = F.relu(d - boundary + margin), F.relu(boundary - d + margin)
        positive = positive & drawable
        negatives = weights * positive.sum(1, keepdim=True)
        active = positive * (near > 0) + negatives * (far > 0)
        return per_row(near * positive + negatives * far, active)

    rows = (these.anchors, these.itself)
    return mean_of_counted(stack_rows(sums, *rows, columns=len(these.keys))) + regulariser * boundary


@full_precision
def n_pair(anchor: Tensor, positive: Tensor, labels: Tensor | None = None, penalty: float = 0.002) -> Tensor:
    """Softmax cross entropy of dot products: an anchor's positive against the positives of other classes.

    anchor, positive: `(N, D)` views of the same images, whose length counts; labels: as in
    `triplet`, and then the positives of an anchor's class each take their turn and none is a
    negative. The mean squared lengths of both, times `penalty / 4`, are added. All equal to 0, in
    classes of one: `ln(N)`.

    Sohn: Improved Deep Metric Learning with Multi-class N-pair Loss Objective (NIPS 2016), section 3.
    """
    keys = gather(positive)
    classes = classes_of(labels, positive)
    itself = rank() * len(anchor) + torch.arange(len(anchor), device=anchor.device)

    def loss(anchor: Tensor, itself: Tensor, keys: Tensor, classes: Tensor) -> Tensor:
        scores = anchor @ keys.T
        same = classes[itself][:, None] == classes
        others = scores.masked_fill(same, lowest(scores)).logsumexp(1, keepdim=True)
        return ((F.softplus(others - scores) * same).sum(1) / same.sum(1)).sum()

    entropy = sum_over_rows(loss, [anchor, itself], [keys, classes]) / len(anchor)
    lengths = anchor.square().sum(1).mean() + positive.square().sum(1).mean()
    return entropy + penalty / 4 * lengths


@full_precision
def soft_nearest_neighbour(
    z: Tensor | Sequence[Tensor], labels: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """How unlikely a neighbour drawn with weights `exp(-d^2 / temperature)` is of the anchor's class.

    z: `(V, B, D)` or `V` tensors `(B, D)`, whose length counts; labels: as in `triplet`. The mean
    runs over the anchors of all ranks that have a positive; the sum over positives is inside the
    logarithm. All equal, in classes of `V`: `ln((VB - 1) / (V - 1))`.

    Frosst, Papernot, Hinton: Analyzing and Improving Representations with the Soft Nearest Neighbor
    Loss (ICML 2019), eq. 1.
    """
    these = compare(z, labels, normalise=False)

    def sums(anchors: Tensor, itself: Tensor) -> Tensor:
        closeness = -these.square_distances(anchors) / temperature
        positive, negative = these.masks(itself)
        low = lowest(closeness)
        relatives = closeness.masked_fill(~positive, low).logsumexp(1)
        everyone = closeness.masked_fill(~(positive | negative), low).logsumexp(1)
        wanted = positive.any(1)
        return torch.stack([(everyone - relatives) * wanted, wanted.to(everyone)], 1)

    return mean_of_counted(stack_rows(sums, these.anchors, these.itself, columns=len(these.keys)))


class Comparison(NamedTuple):
    """This rank's views as anchors, those of all ranks as keys, both view after view.

    anchors: `(R, D)`. keys: `(N, D)`. itself: `(R,)`, the place of each anchor among the keys.
    classes: `(N,)`. relatives: `(R, P)`, places of the keys that may be of the anchor's class.
    """

    anchors: Tensor
    keys: Tensor
    itself: Tensor
    classes: Tensor
    relatives: Tensor

    def masks(self, itself: Tensor) -> tuple[Tensor, Tensor]:
        """Which keys `(R, N)` are positives of the anchors at `itself`, and which negatives."""
        same = self.classes[itself][:, None] == self.classes
        return same.scatter(1, itself[:, None], False), ~same

    def square_distances(self, anchors: Tensor) -> Tensor:
        """`(R, N)`, never below 0."""
        lengths = anchors.square().sum(1, keepdim=True) + self.keys.square().sum(1)
        return (lengths - 2 * anchors @ self.keys.T).clamp(min=0)

    def distances(self, anchors: Tensor, itself: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distances on the unit sphere `(R, N)`, positives and negatives."""
        square = self.square_distances(anchors)
        return square.clamp(min=CLOSEST).sqrt(), *self.masks(itself)


def compare(z: Tensor | Sequence[Tensor], labels: Tensor | None, *, normalise: bool) -> Comparison:
    """Who is compared with whom."""
    views = z if isinstance(z, Tensor) else torch.stack(list(z))
    views = F.normalize(views, dim=-1) if normalise else views
    anchors, keys, itself = anchors_and_keys(views)
    images = len(keys) // len(views)
    others = torch.arange(1, len(views), device=views.device) * images
    relatives = (itself[:, None] + others) % len(keys)
    if labels is not None:
        relatives = torch.arange(len(keys), device=views.device).expand(len(anchors), -1)
    return Comparison(anchors, keys, itself, classes_of(labels, views[0]).repeat(len(views)), relatives)


def classes_of(labels: Tensor | None, embeddings: Tensor) -> Tensor:
    """The class of each image of all ranks, by default its own."""
    missing = torch.full((len(embeddings),), -1, device=embeddings.device)
    return own_classes(gather(missing if labels is None else labels))


def distance_weights(d: Tensor, negative: Tensor, dim: int) -> Tensor:
    """The probability `(R, N)` that each negative is drawn, inverse to the density of its distance
    between uniform points of the sphere in `dim` dimensions; 0 in rows without a candidate."""
    candidate = negative & (d < FARTHEST_DRAWN)
    d = d.clamp(NEAREST_DRAWN, FARTHEST_DRAWN)
    density = (dim - 2) * d.log() + (dim - 3) / 2 * torch.log1p(-d.square() / 4)
    return (-density).masked_fill(~candidate, lowest(d)).softmax(1) * candidate


def per_row(losses: Tensor, counts: Tensor) -> Tensor:
    """Of each row `(R, ...)`, the sum of its losses and of what counts: `(R, 2)`."""
    return torch.stack([losses.flatten(1).sum(1), counts.flatten(1).sum(1).to(losses)], 1)


def mean_of_counted(sums: Tensor) -> Tensor:
    """Mean over all ranks of what `per_row` counts, 0 where nothing does."""
    total, count = sums.sum(0).unbind()
    return total / reduce_mean(count.detach()).clamp(min=1e-9)


def lowest(x: Tensor) -> float:
    """A score that no other comes near, and finite, so that gradients are."""
    return torch.finfo(x.dtype).min / 4
