"""SimSiam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, all_decayed, cross, mean
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class SimSiam(Method):
    """Predict the other view's projection, with a stop-gradient in place of a teacher.

    Chen, He: Exploring Simple Siamese Representation Learning (CVPR 2021), eq. 1-4.

    projector: widths of the head's layers; batch norm after each, the last without affine part.
    predictor: widths of the predictor's layers, a bottleneck.

    The predictor keeps a constant learning rate, as in the authors' code (`--fix-pred-lr`). On
    CIFAR-10 the paper takes a projector of two layers.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.05, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 2048, 2048),
        predictor: Sequence[int] = (512, 2048),
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, last_norm=True, last_affine=False)
        self.predictor = mlp(projector[-1], *predictor)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, each through the networks by itself; smaller crops predict them, too."""
        z = list(map(self.embed, batch.views))
        p = map(self.predictor, z)
        return {"loss": mean([losses.negative_cosine(p, z.detach()) for p, z in cross(list(p), z[:2])])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters; the predictor's rate without a schedule."""
        return [
            *all_decayed(self.encoder),
            *all_decayed(self.projector),
            *all_decayed(self.predictor, constant_lr=True),
        ]
