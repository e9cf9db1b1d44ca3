"""Losses over assignments of images to prototypes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selfsight.distributed import reduce_max, reduce_sum, world_size
from selfsight.losses.distillation import cross_view_entropy
from selfsight.precision import full_precision


@torch.no_grad()
@full_precision
def sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft assignments `(N, K)` that use all prototypes about equally and sum to 1 in each row.

    scores: `(N, K)` cosines of images and prototypes; the balance is sought over all ranks.
    It ends on the images, so their rows are exact and the prototypes' shares approximate.

    Cuturi: Sinkhorn distances (NeurIPS 2013); Caron et al.: SwAV (NeurIPS 2020), eq. 3-5.
    """
    # One maximum for all ranks: another for each would change what three iterations reach.
    kernel = ((scores - reduce_max(scores.max())) / epsilon).exp()
    smallest = torch.finfo(kernel.dtype).tiny
    images, prototypes = len(scores) * world_size(), scores.shape[1]
    image_scale = kernel.new_full((len(scores),), 1 / images)
    prototype_scale = kernel.new_ones(prototypes)
    for _ in range(iterations):
        used = reduce_sum(image_scale @ kernel)
        prototype_scale = 1 / (prototypes * used).clamp(min=smallest)
        image_scale = 1 / (images * (kernel @ prototype_scale)).clamp(min=smallest)
    return images * image_scale[:, None] * kernel * prototype_scale


@full_precision
def swapped_prediction(scores: Sequence[Tensor], codes: Sequence[Tensor], temperature: float = 0.1) -> Tensor:
    """Cross entropy of each view's codes with the prototype scores of every other view.

    scores: `(N, K)` cosines for all crops; codes: assignments `(N, K)` for the first of them,
    no gradient. Uniform scores: `ln K`.

    Caron et al.: SwAV (NeurIPS 2020), eq. 2 and section 3.2 (multi-crop).
    """
    return cross_view_entropy([code.detach() for code in codes], [view / temperature for view in scores])
