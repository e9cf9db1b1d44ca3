"""PIRL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from selfsight.data.sizes import each_axis
from selfsight.methods._bank import InstanceContrast, MemoryBank
from selfsight.methods.base import Method, Optimisation, Plan, Wants, mean, together, unit
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, jigsaw, random_view, two_views


class PIRL(Method):
    """Know an image's memory again in the image and in its shuffled patches or its rotations.

    Misra, van der Maaten: Self-Supervised Learning of Pretext-Invariant Representations (CVPR 2020), eq. 3-5.

    pretext: "jigsaw", nine patches in random order, or "rotation", the three quarter turns.
    dim: width of the embeddings; all heads are linear.
    noise: memories that an image is told from at each step; where there are no more, all.
    temperature: of the contrast. momentum: how much of an image's memory an update keeps.
    weight: lambda, of the transformed image's loss; the image's own has the rest.
    patch_scale: area of the crop that is cut into patches. puzzle_size: pixels a side that it is read at, or a
        size for each axis; None for the paper's 255/224 of the view.

    Negatives of both branches are one draw from the memory, shared by the batch. The contrast is that of
    NPID with one Z for both branches, from the first batch's images, as in the authors' code. A flip
    turns the whole puzzle over and not each patch; their posterise, sharpness and autocontrast are
    left out.
    """

    optimisation = Optimisation(
        optimizer="sgd", lr=0.12, reference_batch=1024, weight_decay=1e-4, warmup_epochs=0, final_lr=1e-3
    )
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.2), jitter_p=1.0, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        pretext: Literal["jigsaw", "rotation"] = "jigsaw",
        dim: int = 128,
        noise: int = 32000,
        temperature: float = 0.07,
        momentum: float = 0.5,
        weight: float = 0.5,
        patch_scale: tuple[float, float] = (0.6, 1.0),
        puzzle_size: Size | None = None,
    ):
        super().__init__(encoder)
        if pretext not in ("jigsaw", "rotation"):
            raise ValueError(f"pretext is {pretext!r}: choose 'jigsaw' or 'rotation'")
        self.pretext, self.patch_scale, self.puzzle_size = pretext, patch_scale, puzzle_size
        self.dims = len(encoder.spec.size)
        self.tiles = 3**self.dims if pretext == "jigsaw" else 0
        self.wants = Wants(views=1 + (self.tiles or 3), smallest_batch=1)
        self.projector = nn.Linear(encoder.width, dim)
        self.pretext_projector = nn.Linear(encoder.width, dim)
        self.puzzle = nn.Linear(self.tiles * dim, dim) if self.tiles else None
        self.bank = MemoryBank(dim, momentum)
        self.contrast = InstanceContrast(noise, temperature)
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is the share of the transformed image's loss, from 0 to 1, not {weight}")
        self.weight = weight

    def idle(self) -> dict[str, str]:
        """What belongs to the puzzle."""
        return {} if self.tiles else dict.fromkeys(("patch_scale", "puzzle_size"), "with pretext='rotation'")

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """The image; and a larger crop in patches, or another crop in its three quarter turns."""
        image, other = augmentation.of_view(0), augmentation.of_view(1)
        if self.pretext == "jigsaw":
            other = replace(other, scale=self.patch_scale)
            sides = each_axis(self.puzzle_size or size, self.dims)
            whole = sides if self.puzzle_size else tuple(round(side * 255 / 224) for side in sides)
            transformed = jigsaw(whole, other)
        else:
            transformed = ViewSet((replace(random_view(size, other), turns=(1, 2, 3)),))
        return ViewSet((random_view(size, image),)) + transformed

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two views of the image, to see whether they match."""
        return two_views(size, augmentation)

    def prepare(self, plan: Plan) -> None:
        """A memory for each image."""
        super().prepare(plan)
        self.bank.allocate(plan.samples)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of the image and of its transformation against the memories, and each of the two."""
        features, *transformed = together(self.encoder, batch.views)
        v = unit(self.projector(features))
        self.later(self.bank.update, batch.index, v)  # by the image branch alone
        memory = batch.index, self.bank, batch.shared_seed
        image = self.contrast(v, *memory)
        pretext = mean([self.contrast(unit(z), *memory) for z in self.transformed(transformed)])
        loss = self.weight * pretext + (1 - self.weight) * image
        return {"loss": loss, "image": image.detach(), "pretext": pretext.detach()}

    def transformed(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Embeddings `(B, dim)` of the transformed image: one of all patches, or one of each turn."""
        each = together(self.pretext_projector, features)
        return each if self.puzzle is None else [self.puzzle(torch.cat(each, dim=1))]

    def embed(self, view: Tensor) -> Tensor:
        """Embeddings of the image branch, before normalisation."""
        return self.projector(self.encoder(view))
