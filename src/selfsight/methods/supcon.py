"""Supervised contrastive learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, Wants, all_decayed, together, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class SupCon(Method):
    """Contrast all views of a class with those of the other classes; needs labels.

    Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan: Supervised Contrastive
    Learning (NeurIPS 2020), eq. 2, the loss with the sum outside the logarithm.

    projector: widths of the head's layers, no batch norm; none, `[]`, contrasts the features themselves.
    temperature: of the softmax.

    An image without a label (-1) has only its own other view as a positive, as in SimCLR. The factor
    temperature / 0.07 of the authors' code is left out: it only scales the loss.
    """

    wants = Wants(views=2, or_more=True, label=True)
    optimisation = Optimisation(optimizer="sgd", lr=0.125, weight_decay=1e-4, final_lr=1e-3)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.0)

    def __init__(self, encoder: Encoder, *, projector: Sequence[int] = (2048, 128), temperature: float = 0.1):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, norm=False) if projector else nn.Identity()
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or more, and the label of each image."""
        z = together(self.embed, batch.views)
        return {"loss": losses.supcon(z, batch.metadata["label"], self.temperature)}

    def progress(self, batch: Batch) -> Tensor:
        """How often the nearest second view, by cosine, to an image's first is of its class."""
        first, second = map(unit, together(self.embed, batch.views[:2]))
        label = batch.metadata["label"]
        own_class = torch.where(label < 0, -1 - batch.index, label)
        nearest = (first @ second.T).argmax(1)
        return (own_class[nearest] == own_class).float().mean()

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
