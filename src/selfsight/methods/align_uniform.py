"""Alignment and uniformity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, all_decayed, mean, pairs, together, weighted_sum
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class AlignUniform(Method):
    """Draw the views of an image together and spread all images evenly over the sphere.

    Wang, Isola: Understanding Contrastive Representation Learning through Alignment and Uniformity on
    the Hypersphere (ICML 2020), section 4.1.

    projector: widths of the head's layers; the paper's is linear.
    alpha: power of the distance between views.
    t: sharpness of the Gaussian that keeps images apart.
    alignment, uniformity: weights of the two terms.

    Uniformity is over all pairs of images of one view, on all ranks, and the mean over the views. The
    rate follows a cosine, where the paper divides it by ten three times near the end.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.12, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (128,),
        alpha: float = 2.0,
        t: float = 2.0,
        alignment: float = 1.0,
        uniformity: float = 1.0,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector)
        self.alpha, self.t = alpha, t
        self.weights = {"alignment": alignment, "uniformity": uniformity}

    def idle(self) -> dict[str, str]:
        """The shape of a term without weight."""
        shapes = {"alignment": "alpha", "uniformity": "t"}
        return {shape: f"with {term}=0" for term, shape in shapes.items() if not self.weights[term]}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or more: the mean over the pairs, and over the views."""
        z = together(self.embed, batch.views)
        terms = {
            "alignment": mean([losses.alignment(za, zb, self.alpha) for za, zb in pairs(z)]),
            "uniformity": mean([losses.uniformity(view, self.t) for view in z]),
        }
        return weighted_sum(terms, self.weights)

    def embed(self, view: Tensor) -> Tensor:
        """Projections, before normalisation."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
