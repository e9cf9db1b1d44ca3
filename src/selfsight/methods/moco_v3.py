"""MoCo v3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from selfsight import diagnostics, losses
from selfsight.methods.base import Method, Optimisation, Teacher, cross, mean, split_by_decay
from selfsight.nets import Encoder, cosine_momentum, draw_as_moco_v3, fix_positions, mlp
from selfsight.views import Augmentation, Batch


class MoCoV3(Method):
    """Contrast a prediction with a moving teacher's keys of the batch's other views; made for ViTs.

    Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers (ICCV 2021),
    eq. 1 and algorithm 1.

    projector: widths of the head's layers; batch norm after each, the last without affine part.
        None is the paper's: 4096, 256, with one more 4096 for a ViT.
    predictor: widths of the predictor's layers; batch norm after the last for a ViT only.
    temperature: of the softmax; None is the paper's .2 for a ViT and 1 for a ResNet.
    momentum: the teacher's at the start; it grows to 1 along half a cosine.
    freeze_patches: keep a ViT's patch embedding as it was drawn, which steadies training.

    A ViT is drawn as the authors draw theirs and has fixed sin-cos positions, unless it starts from
    weights. The recipe is a ViT's; for a
    ResNet the paper takes LARS at .3, weight decay 1e-6, ten epochs of warm-up and crops from .2.
    """

    optimisation = Optimisation(lr=1.5e-4, weight_decay=0.1, warmup_epochs=40)
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
        projector: Sequence[int] | None = None,
        predictor: Sequence[int] = (4096, 256),
        temperature: float | None = None,
        momentum: float = 0.99,
        freeze_patches: bool = True,
    ):
        super().__init__(encoder)
        vit = encoder.takes_keep
        if vit:
            draw_as_moco_v3(encoder)
            fix_positions(encoder)
            encoder.model.patch_embed.requires_grad_(not freeze_patches)
        projector = projector or ((4096, 4096, 256) if vit else (4096, 256))
        self.projector = mlp(encoder.width, *projector, last_norm=True, last_affine=False)
        self.predictor = mlp(projector[-1], *predictor, last_norm=vit, last_affine=False, last_bias=False)
        self.teacher = Teacher(self.encoder, self.projector)
        self.temperature = temperature or (0.2 if vit else 1.0)
        self.momentum = momentum

    def idle(self) -> dict[str, str]:
        """What is of a ViT's patches, where there are none."""
        return {} if self.encoder.takes_keep else {"freeze_patches": f"in {self.encoder.spec.name!r}, which is no ViT"}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, each through the networks by itself; smaller crops ask for their keys, too."""
        queries = [self.predictor(self.embed(view)) for view in batch.views]
        keys = list(map(self.teacher, batch.views[:2]))
        loss = mean([losses.cross_view(q, k, self.temperature) for q, k in cross(queries, keys)])
        return {"loss": 2 * 2 * self.temperature * loss}  # the sum of both directions, and the paper's 2 tau

    def embed(self, view: Tensor) -> Tensor:
        """Projections of the student, before its predictor."""
        return self.projector(self.encoder(view))

    def progress(self, batch: Batch) -> Tensor:
        """How often the nearest key to a first view's prediction is that of its own second view."""
        first, second = batch.views[:2]
        return diagnostics.view_matching_accuracy(self.predictor(self.embed(first)), self.teacher(second))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the paper's code for ViTs; LARS leaves biases and norms out."""
        weights, others = split_by_decay(self)
        del others["weight_decay"]
        return [weights, others]

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student, by the next step's momentum: the authors do so before its keys."""
        self.teacher.follow(cosine_momentum(step, self.plan.steps, self.momentum))
