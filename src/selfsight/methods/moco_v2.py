"""MoCo v2."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods._queue import Queue
from selfsight.methods.base import Method, Optimisation, Plan, Teacher, all_decayed, mean, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class MoCoV2(Method):
    """Contrast a view with a slowly moving teacher's key of the other view and a queue of past keys.

    He, Fan, Wu, Xie, Girshick: Momentum Contrast for Unsupervised Visual Representation Learning
    (CVPR 2020), eq. 1-2; Chen, Fan, Girshick, He: Improved Baselines with Momentum Contrastive
    Learning (2020).

    projector: widths of the head's layers; no batch norm.
    queue: number of keys kept as negatives.
    temperature: of the softmax.
    momentum: the teacher's, constant.
    key_group: images whose keys share batch-norm statistics.

    Batch norm must not tell a query which key is its own. The paper shuffles keys across GPUs;
    here the keys' statistics come from groups of `key_group` consecutive images and the queries'
    from the whole batch, which needs no second GPU and does not depend on their number. The
    teacher moves after each step, which is the paper's "before the keys" of the next one.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=0.5)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 128),
        queue: int = 65536,
        temperature: float = 0.2,
        momentum: float = 0.999,
        key_group: int = 32,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, norm=False)
        self.teacher = Teacher(self.encoder, self.projector, sync_batchnorm=False)
        self.queue = Queue(queue, projector[-1])
        self.temperature, self.momentum, self.key_group = temperature, momentum, key_group

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views: the first asks, the second is the key. Smaller crops ask, too."""
        first, second, *small = batch.views
        key = self.key(second)
        self.later(self.queue.push, key)  # a batch's keys are negatives of later batches only
        queries = [self.embed(view) for view in (first, *small)]
        return {"loss": mean([losses.info_nce(q, key, self.queue.rows, self.temperature) for q in queries])}

    def embed(self, view: Tensor) -> Tensor:
        """Queries `q` of the student."""
        return self.projector(self.encoder(view))

    @torch.no_grad()
    def key(self, view: Tensor) -> Tensor:
        """Normalised keys `k` of the teacher, in groups as even as the batch allows."""
        groups = view.tensor_split(ceil(len(view) / self.key_group))
        return unit(torch.cat([self.teacher(group) for group in groups]))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the paper's code."""
        return all_decayed(self)

    def prepare(self, plan: Plan) -> None:
        """Refuse a queue that is shorter than a batch."""
        super().prepare(plan)
        self.queue.check(samples=plan.samples, batch=plan.batch)

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        self.teacher.follow(self.momentum)
