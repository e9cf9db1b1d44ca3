"""NPID."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from selfsight.methods._bank import InstanceContrast, MemoryBank
from selfsight.methods.base import Method, Optimisation, Plan, Wants, all_decayed, unit
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, random_view, two_views


class NPID(Method):
    """Tell every image from all others by a memory of each.

    Wu, Xiong, Yu, Lin: Unsupervised Feature Learning via Non-Parametric Instance Discrimination
    (CVPR 2018), eq. 2-8.

    dim: width of the embedding, one linear layer behind the encoder.
    noise: memories that an image is told from at each step; None or 0 for the softmax over all images,
        which is also taken where there are no more than `noise`.
    temperature: of the softmax; the authors take .07 on ImageNet and .1 on CIFAR-10.
    momentum: how much of an image's memory an update keeps.

    All images of a batch, on all ranks, share one draw of noise. As in the authors' code
    the constant Z comes from the first batch and there is no proximal term. The rate follows a
    cosine where the paper drops it in steps.
    """

    optimisation = Optimisation(optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.4), jitter_p=1.0, grayscale=0.2, blur=0.0)
    wants = Wants(views=1, smallest_batch=1)

    def __init__(
        self,
        encoder: Encoder,
        *,
        dim: int = 128,
        noise: int | None = 4096,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ):
        super().__init__(encoder)
        self.projector = nn.Linear(encoder.width, dim)
        self.bank = MemoryBank(dim, momentum)
        self.contrast = InstanceContrast(noise, temperature)

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One view: the other is the memory."""
        return ViewSet((random_view(size, augmentation.of_view(0)),))

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two views, to see whether they match."""
        return two_views(size, augmentation)

    def prepare(self, plan: Plan) -> None:
        """A memory for each image."""
        super().prepare(plan)
        self.bank.allocate(plan.samples)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of one view of each image against the memories."""
        v = unit(self.embed(batch.views[0]))
        self.later(self.bank.update, batch.index, v)
        return {"loss": self.contrast(v, batch.index, self.bank, batch.shared_seed)}

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings `v`, before normalisation."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
