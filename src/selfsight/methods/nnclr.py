"""NNCLR."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from selfsight import diagnostics, losses
from selfsight.methods._queue import Queue
from selfsight.methods.base import Method, Optimisation, Plan, cross, mean, unit
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class NNCLR(Method):
    """Contrast a view's nearest past projection with the predictions of the batch's other views.

    Dwibedi, Aytar, Tompson, Sermanet, Zisserman: With a Little Help from My Friends: Nearest-Neighbor
    Contrastive Learning of Visual Representations (ICCV 2021), eq. 3-4.

    projector: widths of the head's layers; batch norm after each.
    predictor: widths of the predictor's layers; batch norm after all but the last.
    queue: number of past projections among which neighbours are found, the paper's support set.
    temperature: of the softmax.

    The queue holds first views and starts as noise. It is the same on all ranks.
    """

    optimisation = Optimisation(optimizer="lars", lr=0.3, weight_decay=1e-6)
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
        projector: Sequence[int] = (2048, 2048, 256),
        predictor: Sequence[int] = (4096, 256),
        queue: int = 98304,
        temperature: float = 0.1,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, last_norm=True)
        self.predictor = mlp(projector[-1], *predictor)
        self.queue = Queue(queue, projector[-1])
        self.temperature = temperature

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, each through the networks by itself; smaller crops predict neighbours, too."""
        z = list(map(self.embed, batch.views))
        p = list(map(self.predictor, z))
        neighbours = [self.queue.nearest(view)[:, 0] for view in z[:2]]
        self.later(self.queue.push, unit(z[0].detach()))  # after use, or an image would be its own neighbour
        return {"loss": mean([losses.cross_view(nn, p, self.temperature) for p, nn in cross(p, neighbours)])}

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`."""
        return self.projector(self.encoder(view))

    def progress(self, batch: Batch) -> Tensor:
        """How often the nearest projection of a second view to a first view's prediction is its own."""
        za, zb = map(self.embed, batch.views[:2])
        return diagnostics.view_matching_accuracy(self.predictor(za), zb)

    def prepare(self, plan: Plan) -> None:
        """Refuse a queue that is shorter than a batch."""
        super().prepare(plan)
        self.queue.check(samples=plan.samples, batch=plan.batch)
