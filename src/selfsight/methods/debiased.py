"""Debiased contrastive learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, all_decayed, mean, pairs
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class Debiased(Method):
    """Contrast two views with the batch, corrected for negatives that are of the image's own class.

    Chuang, Robinson, Lin, Torralba, Jegelka: Debiased Contrastive Learning (NeurIPS 2020), eq. 7-8
    with M = 1.

    projector: widths of the head's layers; batch norm after all but the last.
    temperature: of the softmax.
    prior: the paper's tau+, the share of negatives of an image's own class; one over the number of classes.

    The negatives are those of all ranks. The rate follows a cosine, where the paper's is constant.
    """

    optimisation = Optimisation(optimizer="adam", lr=1e-3, weight_decay=1e-6, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (512, 128),
        temperature: float = 0.5,
        prior: float = 0.1,
    ):
        if not 0 <= prior < 1:
            raise ValueError(f"prior is {prior}: it is a share of the images, at least 0 and less than 1")
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector)
        self.temperature, self.prior = temperature, prior

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, each through the network by itself, or the mean over the pairs of more."""
        z = list(map(self.embed, batch.views))
        return {"loss": mean([losses.debiased(za, zb, self.temperature, self.prior) for za, zb in pairs(z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
