"""epsilon-InfoNCE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, all_decayed, mean, pairs, together
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class EpsInfoNCE(Method):
    """Contrast two views of an image with all other images, which it must lead by a margin.

    Barbano, Dufumier, Tartaglione, Grangetto, Gori: Unbiased Supervised Contrastive Learning (ICLR 2023).

    projector: widths of the head's layers; no batch norm.
    temperature: of the softmax.
    epsilon: the margin, on similarities over the temperature; 0 is SimCLR's loss, a large one the decoupled loss.

    Without labels the paper only derives this loss; its recipe here is the one of the supervised
    experiments, with a warm-up and a cosine where they divide the rate by ten at epochs 700, 800 and 900.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.05, weight_decay=1e-4)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 128),
        temperature: float = 0.07,
        epsilon: float = 0.25,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, norm=False)
        self.temperature, self.epsilon = temperature, epsilon

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or the mean over the pairs of more."""
        z = together(self.embed, batch.views)
        return {"loss": mean([losses.eps_infonce(za, zb, self.temperature, self.epsilon) for za, zb in pairs(z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
