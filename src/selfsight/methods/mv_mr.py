"""MV-MR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from selfsight import losses, targets
from selfsight.methods.base import Method, Optimisation, Wants, all_decayed, weighted_sum
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch, Size, ViewSet, original, two_views


class MVMR(Method):
    """Make embeddings depend, by distance correlation, on the other view and on hand-crafted features.

    Kinakh, Drozdova, Voloshynovskiy: MV-MR: Multi-Views and Multi-Representations for
    Self-Supervised Learning and Knowledge Distillation (Entropy 2024), eq. 4-7.

    projector: widths of the head's layers; batch norm and ReLU after all but the last.
    invariance, variance, dependence: weights of the mean squared difference of the two embeddings,
        of both variance terms and of the two embeddings' distance correlation.
    pixels, augmented_pixels, hog, local_std, scattering: weights of the distance correlation with
        each target, all of the original image; 0 leaves a target out.
    estimator: "biased" is the paper's; it is nearly saturated in wide spaces, where "unbiased" is not.

    Every term of dependence is maximised, as the paper writes; the authors' code minimises those
    of the hand-crafted features. Embeddings and targets are not divided by 32, which only served
    half precision. The augmented pixels are drawn for each image, not once for a batch.
    """

    optimisation = Optimisation(optimizer="adam", lr=1e-4, reference_batch=None, weight_decay=1e-6, final_lr=1e-2)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, grayscale=0.2, blur=1.0)
    wants = Wants(views=3, smallest_batch=4)
    estimator: Literal["biased", "unbiased"]

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (8192, 8192, 8192),
        invariance: float = 1.0,
        variance: float = 1.0,
        dependence: float = 1.0,
        pixels: float = 1.0,
        augmented_pixels: float = 1.0,
        hog: float = 1.0,
        local_std: float = 1.0,
        scattering: float = 1.0,
        estimator: Literal["biased", "unbiased"] = "biased",
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, last_bias=False)
        self.estimator = estimator
        self.weights = {
            "invariance": invariance,
            "variance": variance,
            "dependence": dependence,
            "pixels": pixels,
            "augmented_pixels": augmented_pixels,
            "hog": hog,
            "local_std": local_std,
            "scattering": scattering,
        }
        made_for_images = [name for name in ("hog", "local_std", "scattering") if self.weights[name]]
        if made_for_images and len(encoder.spec.size) != 2:
            zero = ", ".join(f"{name}=0" for name in made_for_images)
            raise ValueError(f"{', '.join(made_for_images)} describe images of two axes, not volumes: use {zero}")
        self.scattering = targets.Scattering()

    def idle(self) -> dict[str, str]:
        """The estimator, where no dependence is estimated."""
        measured = set(self.weights) - {"invariance", "variance"}
        return {} if any(self.weights[name] for name in measured) else {"estimator": "without a term of dependence"}

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """An augmented view, the original, and a second augmented view for its pixels alone."""
        view, other = two_views(size, augmentation).views
        return ViewSet((view, *original(size).views, other))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of three views, with each of its terms."""
        z, z0 = map(self.embed, batch.views[:2])
        terms = {
            "invariance": functional.mse_loss(z, z0),
            "variance": losses.variance_hinge(z) + losses.variance_hinge(z0),
            "dependence": 1 - losses.distance_correlation(z0, z, self.estimator),
        }
        for name, target in self.targets(batch).items():
            terms[name] = 1 - losses.distance_correlation(target, z, self.estimator)
        return weighted_sum(terms, self.weights)

    @torch.no_grad()
    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The hand-crafted features of the original images `(B, ...)`, those with a weight."""
        _, image, augmented = batch.views
        features = {
            "pixels": lambda: image,
            "augmented_pixels": lambda: augmented,
            "hog": lambda: targets.hog(image, bins=24, cell=8),
            "local_std": lambda: targets.local_std(image),
            "scattering": lambda: self.scattering(image),
        }
        return {name: make() for name, make in features.items() if self.weights[name]}

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
