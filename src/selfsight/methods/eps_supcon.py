"""epsilon-SupCon."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Optimisation, together
from selfsight.methods.supcon import SupCon
from selfsight.nets import Encoder
from selfsight.views import Batch


class EpsSupCon(SupCon):
    """Contrast all views of a class with those of other classes by a margin; needs labels.

    Barbano, Dufumier, Tartaglione, Grangetto, Gori: Unbiased Supervised Contrastive Learning (ICLR 2023).

    projector: widths of the head's layers, no batch norm; none, `[]`, contrasts the features themselves.
    temperature: of the softmax.
    epsilon: the margin, on similarities over the temperature; 0 is SupCon's loss.

    An image without a label (-1) has only its own other views as positives. The factor
    temperature / 0.07 of the authors' code is left out: it only scales the loss. The rate follows
    a warm-up and a cosine; the paper divides it by ten at epochs 700, 800 and 900 of 1000.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.05, weight_decay=1e-4)
    augmentation = SupCon.augmentation
    loss = staticmethod(losses.eps_supcon)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 128),
        temperature: float = 0.07,
        epsilon: float = 0.25,
    ):
        super().__init__(encoder, projector=projector, temperature=temperature)
        self.epsilon = epsilon

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or more, and the label of each image."""
        z = together(self.embed, batch.views)
        return {"loss": self.loss(z, batch.metadata["label"], self.temperature, self.epsilon)}
