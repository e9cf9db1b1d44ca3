"""Barlow Twins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, mean, pairs, split_by_decay
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class BarlowTwins(Method):
    """Make the cross-correlation of two views' embeddings the identity.

    Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: Self-Supervised Learning via Redundancy
    Reduction (ICML 2021), eq. 1-2.

    projector: widths of the head's layers; batch norm and ReLU after all but the last.
    off_diagonal: the paper's lambda, the weight of the redundancy term.

    Weight decay is the 1e-6 of the authors' code, where the paper says 1.5e-6.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.2, weight_decay=1e-6, final_lr=1e-3)
    augmentation = Augmentation(
        scale=(0.08, 1.0),
        jitter=(0.4, 0.4, 0.2, 0.1),
        jitter_p=0.8,
        grayscale=0.2,
        blur=(1.0, 0.1),
        solarize=(0.0, 0.2),
    )
    bias_lr = 0.0048

    def __init__(
        self, encoder: Encoder, *, projector: Sequence[int] = (8192, 8192, 8192), off_diagonal: float = 0.0051
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, last_bias=False)
        self.off_diagonal = off_diagonal

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or the mean over the pairs of more."""
        z = list(map(self.embed, batch.views))
        return {"loss": mean([losses.barlow_twins(za, zb, self.off_diagonal) for za, zb in pairs(z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weights at the full rate; biases and norms at .0048 where weights have .2."""
        weights, others = split_by_decay(self)
        return [weights, others | {"lr_scale": self.bias_lr / self.optimisation.lr}]
