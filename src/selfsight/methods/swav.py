"""SwAV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods._queue import Queue
from selfsight.methods.base import Method, Optimisation, Plan, Wants, all_decayed, teacher_entropy, together, unit
from selfsight.nets import Encoder, Prototypes, mlp
from selfsight.views import Augmentation, Batch, Size, ViewSet, multi_crop


class SwAV(Method):
    """Predict a view's balanced assignment to prototypes from every other view.

    Caron, Misra, Mairal, Goyal, Bojanowski, Joulin: Unsupervised Learning of Visual Features by
    Contrasting Cluster Assignments (NeurIPS 2020), eq. 1-3 and appendix A.

    projector: widths of the head's layers; batch norm after all but the last.
    prototypes: their number; a few hundred or fewer suit small data.
    temperature: of the softmax. epsilon, iterations: of Sinkhorn's algorithm.
    queue: past embeddings that join the assignment, for batches smaller than `prototypes`; 0 for none.
    queue_start: the epoch at which the queue begins to fill.
    freeze_epochs: how long the prototypes keep still.

    The queue is the same on every rank, each of which assigns its share of it. The rate is the
    paper's 4.8 for 4096 images; its run with 256 images takes .6 and no warm-up.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.3, weight_decay=1e-6, final_lr=1e-3)
    augmentation = Augmentation(
        scale=(0.14, 1.0),
        jitter=(0.8, 0.8, 0.8, 0.2),
        jitter_p=0.8,
        grayscale=0.2,
        blur=0.5,
        crops=(2, 6),
        global_scale=(0.14, 1.0),
        local_scale=(0.05, 0.14),
    )
    assigned = 2
    wants = Wants(views=assigned, or_more=True)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (2048, 128),
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 3840,
        queue_start: float = 15,
        freeze_epochs: float = 1,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, bias=True, last_bias=True)
        self.prototypes = Prototypes(projector[-1], prototypes)
        self.queue = Queue(queue, self.assigned * projector[-1]) if queue else None
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.queue_start, self.freeze_epochs = queue_start, freeze_epochs

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Large crops, of which two get assignments, and small ones."""
        return multi_crop(size, augmentation)

    def idle(self) -> dict[str, str]:
        """When the queue begins, where there is none."""
        return {} if self.queue is not None else {"queue_start": "without a queue"}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two large views and any number of others, and the entropy of the assignments."""
        features = together(self.encoder, batch.views)
        z = list(map(unit, together(self.projector, features)))
        scores = together(self.prototypes, z)
        self.later(self.remember, torch.cat(z[: self.assigned], dim=1))
        codes = [self.assign(crop, scores[crop].detach()) for crop in range(self.assigned)]
        return {"loss": losses.swapped_prediction(scores, codes, self.temperature), **teacher_entropy(codes[0])}

    @torch.no_grad()
    def assign(self, crop: int, scores: Tensor) -> Tensor:
        """Balanced assignments `(B, K)` of one large crop, together with its full queue."""
        images = len(scores)
        if self.queue is not None and self.queue.full:
            past = self.prototypes(self.queue.share.chunk(self.assigned, dim=1)[crop])
            scores = torch.cat((past.to(scores.dtype), scores))
        codes = losses.sinkhorn(scores, self.epsilon, self.iterations)
        return codes[-images:]

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings `z`, before normalisation."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay and LARS on all parameters, as in the paper."""
        return all_decayed(self)

    def prepare(self, plan: Plan) -> None:
        """Refuse a queue that is shorter than a batch."""
        super().prepare(plan)
        if self.queue is not None:
            self.queue.check(samples=plan.samples, batch=plan.batch)

    def after_backward(self) -> None:
        """Hold the prototypes still at first."""
        if self.epoch < self.freeze_epochs:
            self.prototypes.weight.grad = None

    def remember(self, z: Tensor) -> None:
        """Keep the large crops' embeddings `(B, 2 D)` for later assignments."""
        if self.queue is not None and self.epoch >= self.queue_start:
            self.queue.push(z)

    def after_step(self, step: int) -> None:
        """Bring the prototypes back to length one."""
        self.prototypes.normalise()
