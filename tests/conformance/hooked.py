"""A method that uses every hook of the contract: a small DeepCluster, which counts its calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight.methods.base import Method, Optimisation, Plan, Wants
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, ViewSet, two_views


class Hooked(Method):
    """Classify images by the cluster that they had at the epoch's start.

    `calls` counts each hook; `bank` holds the features of all samples in index order, `cluster`
    their nearest centre. Both travel with the state.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.05, warmup_epochs=0)
    wants = Wants(views=1, smallest_batch=1)
    bank: Tensor
    cluster: Tensor

    def __init__(self, encoder: Encoder, *, clusters: int = 4):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.width, clusters)
        self.register_buffer("bank", torch.zeros(0, encoder.width))
        self.register_buffer("cluster", torch.zeros(0, dtype=torch.int64))
        self.calls = {"prepare": 0, "before_epoch": 0, "after_backward": 0, "after_step": 0}

    def views(self, size: int, augmentation: Augmentation) -> ViewSet:
        """One view."""
        return ViewSet(two_views(size, augmentation).views[:1])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy with each image's cluster."""
        logits = self.head(self.encoder(batch.views[0]))
        return {"loss": functional.cross_entropy(logits.float(), self.cluster[batch.index])}

    def embed(self, view: Tensor) -> Tensor:
        """Encoder features."""
        return self.encoder(view)

    @torch.no_grad()
    def progress(self, batch: Batch) -> Tensor:
        """How often the cluster is told."""
        told = self.head(self.encoder(batch.views[0])).argmax(1)
        return (told == self.cluster[batch.index]).float().mean()

    def prepare(self, plan: Plan) -> None:
        """A bank as long as the data; on resuming, the one that was loaded is kept."""
        super().prepare(plan)
        if len(self.bank) != plan.samples:
            self.bank = self.bank.new_zeros(plan.samples, self.bank.shape[1])
            self.cluster = self.cluster.new_zeros(plan.samples)
        self.calls["prepare"] += 1

    @torch.no_grad()
    def before_epoch(self, encode: Callable[[Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]) -> None:
        """Nearest of a few spread samples, by cosine."""
        features, _ = encode(self.encoder)
        self.bank = functional.normalize(features.float(), dim=1).to(self.bank)
        centres = self.bank[:: max(1, len(self.bank) // self.head.out_features)][: self.head.out_features]
        self.cluster = (self.bank @ centres.T).argmax(1)
        self.calls["before_epoch"] += 1

    def after_backward(self) -> None:
        """Count."""
        self.calls["after_backward"] += 1

    def after_step(self, step: int) -> None:
        """Count, and hold the engine to its numbering."""
        self.calls["after_step"] += 1
        self.last_step = step
