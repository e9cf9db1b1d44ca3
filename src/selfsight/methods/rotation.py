"""RotNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfsight.methods.base import Method, Optimisation, Wants, all_decayed, together
from selfsight.nets import Encoder
from selfsight.views import Augmentation, Batch, Size, ViewSet, rotations


class Rotation(Method):
    """Tell by how many quarter turns an image was rotated.

    Gidaris, Singh, Komodakis: Unsupervised Representation Learning by Predicting Image Rotations
    (ICLR 2018), eq. 1-3.

    All four rotations of every image are in the batch. Crop and flip come before the rotation:
    a flip after it would make the quarter turns indistinguishable. The rate follows a cosine
    where the paper drops it in steps.
    """

    optimisation = Optimisation(
        optimizer="sgd", lr=0.1, reference_batch=128, weight_decay=5e-4, warmup_epochs=0, nesterov=True
    )
    augmentation = Augmentation(scale=(0.08, 1.0), jitter_p=0.0, grayscale=0.0, blur=0.0)
    turns = 4
    wants = Wants(views=turns, smallest_batch=1)

    def __init__(self, encoder: Encoder):
        super().__init__(encoder)
        self.head = nn.Linear(encoder.width, self.turns)

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One crop of each image, turned by 0, 90, 180 and 270 degrees."""
        return rotations(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the turn, and the share of turns that were told."""
        logits, turn = self.classify(batch)
        return {"loss": functional.cross_entropy(logits, turn), "accuracy": share_told(logits, turn)}

    def classify(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits `(4 B, 4)` of one encoder call, and the true turn of each row."""
        logits = torch.cat(together(lambda view: self.head(self.encoder(view)), batch.views))
        turn = torch.arange(self.turns, device=logits.device).repeat_interleave(len(batch))
        return logits.float(), turn

    def embed(self, view: Tensor) -> Tensor:
        """Encoder features: the head only classifies."""
        return self.encoder(view)

    def progress(self, batch: Batch) -> Tensor:
        """How often the turn is told."""
        return share_told(*self.classify(batch))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)


def share_told(logits: Tensor, turn: Tensor) -> Tensor:
    """Accuracy of `logits` `(N, 4)` for the turns `(N,)`."""
    return (logits.argmax(1) == turn).float().mean()
