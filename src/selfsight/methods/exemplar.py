"""Exemplar-CNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight.methods.base import Method, Optimisation, Plan, Wants
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, random_view, two_views


class Exemplar(Method):
    """Classify transformed images where every image is a class of its own.

    Dosovitskiy, Springenberg, Riedmiller, Brox: Discriminative Unsupervised Feature Learning with
    Convolutional Neural Networks (NeurIPS 2014), eq. 1-4.

    classes: how many images there may be, since the classifier grows with them; None for any number.

    The exemplars are whole images and not their busiest patches, each transformed anew whenever it is
    seen and not in a fixed number of copies. Contrast and saturation are scaled in place of
    the paper's powers along principal components; its dropout is left to the encoder. The rate follows a
    cosine where the paper drops it in steps.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.01, reference_batch=None, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(
        scale=(0.25, 1.0),
        ratio=(1.0, 1.0),
        flip=0.0,
        rotate=20.0,
        shift=0.2,
        jitter=(0.4, 0.5, 0.5, 0.1),
        jitter_p=1.0,
        grayscale=0.0,
        blur=0.0,
    )
    wants = Wants(views=1, smallest_batch=1)

    def __init__(self, encoder: Encoder, *, classes: int | None = None):
        super().__init__(encoder)
        self.classes = classes
        self.classifier: nn.Linear | None = None

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One transformed copy of each image."""
        return ViewSet((random_view(size, augmentation.of_view(0)),))

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two copies, to see whether they match: held-out images have no class."""
        return two_views(size, augmentation)

    def prepare(self, plan: Plan) -> None:
        """A class for each image."""
        super().prepare(plan)
        samples = plan.samples
        if self.classes is not None and samples > self.classes:
            raise ValueError(
                f"each of {samples} images is a class and classes is {self.classes}: "
                f"raise classes, or train on fewer images with limit={self.classes}"
            )
        if self.classifier is None or self.classifier.out_features != samples:
            place = next(self.encoder.parameters(), torch.zeros(()))
            self.classifier = nn.Linear(self.encoder.width, samples).to(place)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross entropy of the surrogate class, and the share of images whose class was told."""
        assert self.classifier is not None, "forward follows prepare"
        logits = self.classifier(self.encoder(batch.views[0])).float()
        told = (logits.detach().argmax(1) == batch.index).float().mean()
        return {"loss": functional.cross_entropy(logits, batch.index), "accuracy": told}

    def embed(self, view: Tensor) -> Tensor:
        """Encoder features: the classifier knows the training images alone."""
        return self.encoder(view)
