"""Mean shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods._queue import Queue
from selfsight.methods.base import Method, Optimisation, Plan, Teacher, all_decayed, mean, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch, Size, ViewSet


class MeanShift(Method):
    """Predict, from a strong view, a moving teacher's weak view and its nearest past neighbours.

    Koohpayegani, Tejankar, Pirsiavash: Mean Shift for Self-Supervised Learning (ICCV 2021), section 3.

    projector, predictor: widths of the heads' layers; batch norm and ReLU after all but the last.
    queue: number of past targets among which neighbours are found.
    neighbours: how many targets a prediction has, its own among them; with 1 it is BYOL in one direction.
    momentum: the teacher's, constant.

    The target is a crop and a flip alone. Neighbours come from earlier batches, where the authors' code
    enqueues the whole batch before it looks. Their shuffling of targets across GPUs is left out.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.05, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (4096, 512),
        predictor: Sequence[int] = (4096, 512),
        queue: int = 128000,
        neighbours: int = 5,
        momentum: float = 0.99,
    ):
        if not 1 <= neighbours <= queue:
            raise ValueError(f"neighbours is {neighbours}: give at least 1, and at most the queue's {queue}")
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, bias=True)
        self.predictor = mlp(projector[-1], *predictor, bias=True)
        self.teacher = Teacher(self.encoder, self.projector)
        self.queue = Queue(queue, projector[-1])
        self.neighbours, self.momentum = neighbours, momentum

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Strong views, but for the second, the target, whose pixels are left as they are."""
        untouched = replace(augmentation, jitter_p=0.0, grayscale=0.0, blur=0.0, solarize=0.0, noise=0.0, cutout=0.0)
        strong, weak = (super(MeanShift, self).views(size, a).views for a in (augmentation, untouched))
        return ViewSet((*strong[:1], *weak[1:2], *strong[2:]))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views: the first predicts the second. Smaller crops predict it, too."""
        first, second, *small = batch.views
        target = unit(self.teacher(second))
        self.later(self.queue.push, target)
        neighbours = torch.cat([target[:, None], self.queue.nearest(target, self.neighbours - 1)], 1)
        q = [self.predictor(self.embed(view)) for view in (first, *small)]
        return {"loss": mean([losses.mean_shift(prediction, neighbours) for prediction in q])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections of the student, before its predictor."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)

    def prepare(self, plan: Plan) -> None:
        """Refuse a queue that is shorter than a batch."""
        super().prepare(plan)
        self.queue.check(samples=plan.samples, batch=plan.batch)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.momentum)
