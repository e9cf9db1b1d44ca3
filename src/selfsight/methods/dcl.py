"""DCL."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, mean, pairs, together
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class DCL(Method):
    """Contrast two views without the positive in the denominator, so that small batches learn, too.

    Yeh, Hong, Hsu, Liu, Chen, LeCun: Decoupled Contrastive Learning (ECCV 2022), eq. 6.

    projector: widths of the head's layers; batch norm after all but the last.
    temperature: of the softmax.

    The loss is the mean over both directions, where the paper sums them.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.03, weight_decay=5e-4)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, grayscale=0.2, blur=0.5)
    sigma: float | None = None

    def __init__(self, encoder: Encoder, *, projector: Sequence[int] = (2048, 128), temperature: float = 0.1):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector)
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or the mean over the pairs of more."""
        z = together(self.embed, batch.views)
        return {"loss": mean([losses.dcl(za, zb, self.temperature, self.sigma) for za, zb in pairs(z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))
