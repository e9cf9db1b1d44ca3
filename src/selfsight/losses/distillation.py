"""Losses that make a student predict what a teacher sees in another view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.precision import full_precision


@full_precision
def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Mean negative cosine of predictions `p` and targets `z`, both `(N, D)`; no gradient into `z`.

    Chen, He: SimSiam (CVPR 2021), eq. 1; the method takes the mean of both directions.
    """
    return -F.cosine_similarity(p, z.detach(), dim=-1).mean()


@full_precision
def byol(p: Tensor, z: Tensor) -> Tensor:
    """Mean squared distance, on the sphere, of predictions `p` and targets `z`, both `(N, D)`.

    It equals `2 - 2 cos`; no gradient into `z`.

    Grill et al.: BYOL (NeurIPS 2020), eq. 2; the method sums both directions.
    """
    return 2 + 2 * negative_cosine(p, z)


@full_precision
def mean_shift(q: Tensor, neighbours: Tensor) -> Tensor:
    """Mean squared distance, on the sphere, of predictions to the neighbours of their targets.

    q: `(N, D)`; neighbours: `(N, k, D)`, no gradient into them. With each target as its only
    neighbour it is `byol`. All equal: 0.

    Koohpayegani, Tejankar, Pirsiavash: Mean Shift for Self-Supervised Learning (ICCV 2021), section 3.
    """
    return byol(q[:, None], neighbours)


@full_precision
def dino(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    centre: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Cross entropy of the student's and the centred teacher's softmax, over all pairs of views.

    student: logits `(N, K)` of every view; teacher: logits of the first views, no gradient;
    centre: `(K,)`. A view is never paired with itself. All equal: `ln K`.

    Caron et al.: DINO (ICCV 2021), eq. 1-3.
    """
    targets = [((logits - centre) / teacher_temperature).softmax(-1).detach() for logits in teacher]
    return cross_view_entropy(targets, [logits / student_temperature for logits in student])


def cross_view_entropy(targets: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
    """Mean cross entropy of each target `(N, K)` with the logits of every view but its own.

    Target `i` belongs to view `i`; there may be more views than targets.
    """
    if len(logits) < 2 or len(targets) > len(logits):
        raise ValueError(f"{len(targets)} targets and {len(logits)} views: give two or more, each target's own first")
    log_probabilities = [view.log_softmax(-1) for view in logits]
    total = torch.stack(log_probabilities).sum(0)
    pairs = [(target * (total - own)).sum(-1).mean() for target, own in zip(targets, log_probabilities, strict=False)]
    return -torch.stack(pairs).mean() / (len(logits) - 1)
