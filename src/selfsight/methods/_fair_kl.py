"""FairKL: a regulariser that keeps a known bias, such as the scanner, out of any method's embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method
from selfsight.views import Batch

WEIGHTS = {"kl": 1.0, "moments": 100.0}  # values of the second are that much smaller


@dataclass(frozen=True)
class Debias:
    """What the embeddings shall not tell apart within a class or between two, by FairKL.

    column: of groups, such as sites. weight: beside the method's loss; by default 1 for "kl" and 100 for
    "moments", whose values are that much smaller. form: "kl" is the paper's divergence; "moments" is steadier where
    few images of a batch have a group that is unusual for their class.
    """

    column: str
    weight: float | None = None
    form: Literal["kl", "moments"] = "kl"

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise ValueError(f"debias names a column of groups, and not {self.column!r}")
        if self.form not in WEIGHTS:
            raise ValueError(f"debias.form is 'kl' or 'moments', not {self.form!r}")
        number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if self.weight is not None and not (number and 0 < self.weight < math.inf):
            raise ValueError(f"debias.weight is above 0, not {self.weight!r}: leave debias out to train without it")

    def join(self, method: Method) -> Method:
        """The method, with the term."""
        FairKL(method, self.column, WEIGHTS[self.form] if self.weight is None else self.weight, self.form)
        return method


class FairKL:
    """Adds `weight * losses.fair_kl` to a method's loss, and logs it as "fair_kl".

    Barbano, Dufumier, Tartaglione, Grangetto, Gori: Unbiased Supervised Contrastive Learning (ICLR 2023), sec. 3.3.

    method: a built method; it stays what it is, with the same parameters, state and hooks of the engine.
    bias: the column of metadata with a code for each group, -1 where missing. weight: of the regulariser.
    form: of the regulariser, "kl" or "moments".

    Each dimension of the embeddings is first brought to mean 0 and variance 1 over the batch. Cosine distances of
    embeddings that all point one way are alike whatever they hold, and a method would go there first.

    It compares the embeddings that `method.embed` answers during `forward`, as far as gradients flow
    through them. A method that does not call it there is asked for those of the first view, and where the
    student is not what embeds (a teacher is), its encoder's features are taken.
    """

    def __init__(self, method: Method, bias: str, weight: float = 1.0, form: Literal["kl", "moments"] = "kl"):
        self.method, self.bias, self.weight = method, bias, weight
        self.form: Literal["kl", "moments"] = form
        method.listeners.append(self)

    def __call__(self, batch: Batch, heard: list[Tensor], outcome: dict[str, Tensor]) -> dict[str, Tensor]:
        """After `forward`; the monitor's images, which have no columns and teach nothing, are left alone."""
        if self.bias not in batch.metadata and not torch.is_grad_enabled():
            return outcome
        z = losses.standardise(self.embeddings(batch, heard))
        divergence = losses.fair_kl(z, batch.metadata["label"], batch.metadata[self.bias], self.form)
        return {**outcome, "loss": outcome["loss"] + self.weight * divergence, "fair_kl": divergence.detach()}

    def embeddings(self, batch: Batch, heard: list[Tensor]) -> Tensor:
        """`(V, B, D)` of the `V` views that were embedded."""
        found = [z for z in heard if len(z) % len(batch) == 0 and teaches(z)]
        if not found:
            view = batch.views[0]
            z = self.method.embed(view)
            found = [z if teaches(z) else self.method.encoder(view)]
        return torch.cat([z.flatten(1).unflatten(0, (-1, len(batch))) for z in found])


def teaches(z: Tensor) -> bool:
    """Whether gradients flow through `z`, where any do."""
    return z.requires_grad or not torch.is_grad_enabled()
