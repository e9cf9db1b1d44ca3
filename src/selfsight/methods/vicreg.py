"""VICReg."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, mean, pairs, weighted_sum
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class VICReg(Method):
    """Variance-invariance-covariance regularisation of two views' embeddings.

    Bardes, Ponce, LeCun: VICReg: Variance-Invariance-Covariance Regularization for
    Self-Supervised Learning (ICLR 2022), eq. 1-6.

    projector: widths of the head's layers, the paper's expander.
    invariance, variance, covariance: weights of the terms.

    As in the authors' code the variance term is the mean of the two views' terms, not their sum.
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

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (8192, 8192, 8192),
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, bias=True, last_bias=False)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, and its three terms, or their means over the pairs of more."""
        z = list(map(self.embed, batch.views))
        terms = [losses.vicreg(za, zb) for za, zb in pairs(z)]
        return weighted_sum({name: mean([pair[name] for pair in terms]) for name in self.weights}, self.weights)

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings `z`."""
        return self.projector(self.encoder(view))
