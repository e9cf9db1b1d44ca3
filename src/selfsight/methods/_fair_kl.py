"""FairKL: a regulariser that keeps a known bias, such as the scanner, out of any method's embeddings."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from selfsight import losses
from selfsight.methods.base import Method
from selfsight.views import Batch


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
        self.embed_alone = method.embed
        self.seen: list[Tensor] | None = None
        setattr(method, "embed", self.embed)  # noqa: B010 - in the instance's own dictionary, not in the state
        method.register_forward_pre_hook(self.listen)
        method.register_forward_hook(self.add)

    def embed(self, view: Tensor) -> Tensor:
        """The method's embeddings, remembered while it is in `forward`."""
        z = self.embed_alone(view)
        if self.seen is not None:
            self.seen.append(z)
        return z

    def listen(self, *_: Any) -> None:
        """Before `forward`."""
        self.seen = []

    def add(self, _: Any, inputs: tuple[Batch], outcome: dict[str, Tensor]) -> dict[str, Tensor]:
        """After `forward`; the monitor's images, which have no columns and teach nothing, are left alone."""
        (batch,) = inputs
        if self.bias not in batch.metadata and not torch.is_grad_enabled():
            self.seen = None
            return outcome
        z = losses.standardise(self.embeddings(batch))
        divergence = losses.fair_kl(z, batch.metadata["label"], batch.metadata[self.bias], self.form)
        return {**outcome, "loss": outcome["loss"] + self.weight * divergence, "fair_kl": divergence.detach()}

    def embeddings(self, batch: Batch) -> Tensor:
        """`(V, B, D)` of the `V` views that were embedded."""
        seen, self.seen = self.seen or [], None
        found = [z for z in seen if len(z) % len(batch) == 0 and teaches(z)]
        if not found:
            view = batch.views[0]
            z = self.embed_alone(view)
            found = [z if teaches(z) else self.method.encoder(view)]
        return torch.cat([z.flatten(1).unflatten(0, (-1, len(batch))) for z in found])


def teaches(z: Tensor) -> bool:
    """Whether gradients flow through `z`, where any do."""
    return z.requires_grad or not torch.is_grad_enabled()
