"""SimCLR."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, mean, pairs, together
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class SimCLR(Method):
    """Contrast two views of an image with all other images of the batch.

    Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual
    Representations (ICML 2020), eq. 1, with the mean over the 2N anchors.

    projector: widths of the head's layers; batch norm after each, the last without an offset.
    temperature: of the softmax; the paper takes .1 on ImageNet and .5 on CIFAR-10.

    Both views go through the network as one batch, as in the paper. Weight decay is the paper's
    1e-6; the authors' later code takes 1e-4. Drop the blur (`blur=0`) on images of 32 pixels.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.3, weight_decay=1e-6)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(self, encoder: Encoder, *, projector: Sequence[int] = (2048, 128), temperature: float = 0.1):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, last_norm=True, last_affine="scale")
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or the mean over the pairs of more."""
        z = together(self.embed, batch.views)
        return {"loss": mean([losses.nt_xent(za, zb, self.temperature) for za, zb in pairs(z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))
