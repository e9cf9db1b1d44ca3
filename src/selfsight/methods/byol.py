"""BYOL."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method, Optimisation, Teacher, cross, mean
from selfsight.nets import Encoder, cosine_momentum, mlp
from selfsight.views import Augmentation, Batch


class BYOL(Method):
    """Predict a slowly moving teacher's projection of the other view.

    Grill et al.: Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning
    (NeurIPS 2020), eq. 1-2.

    projector, predictor: widths of the heads' layers; batch norm and ReLU after all but the last.
    momentum: the teacher's, the paper's tau, at the start; it grows to 1 along half a cosine.

    The teacher starts as a copy of the student, where the authors' code draws other weights; the
    paper saw no difference. The supervised probe that their code trains alongside is left out.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.2, weight_decay=1.5e-6)
    augmentation = Augmentation(
        scale=(0.08, 1.0),
        jitter=(0.4, 0.4, 0.2, 0.1),
        jitter_p=0.8,
        grayscale=0.2,
        blur=(1.0, 0.1),
        solarize=(0.0, 0.2),
    )

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (4096, 256),
        predictor: Sequence[int] = (4096, 256),
        momentum: float = 0.996,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, bias=True, last_bias=False)
        self.predictor = mlp(projector[-1], *predictor, bias=True, last_bias=False)
        self.teacher = Teacher(self.encoder, self.projector)
        self.momentum = momentum

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, each through the networks by itself; smaller crops predict them, too."""
        q = [self.predictor(self.embed(view)) for view in batch.views]
        z = list(map(self.teacher, batch.views[:2]))
        return {"loss": 2 * mean([losses.byol(prediction, target) for prediction, target in cross(q, z)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z` of the student."""
        return self.projector(self.encoder(view))

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student, after its step, by the momentum of that step, counted from 0."""
        self.teacher.follow(cosine_momentum(step - 1, self.plan.steps, self.momentum))
