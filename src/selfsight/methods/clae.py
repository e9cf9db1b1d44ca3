"""Contrastive learning with adversarial examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selfsight import losses
from selfsight.methods._dual_norm import DualNorm
from selfsight.methods.base import Method, Optimisation, all_decayed, frozen, mean, pairs, together, weighted_sum
from selfsight.nets import Encoder, mlp
from selfsight.views import Augmentation, Batch


class CLAE(Method):
    """Contrast a view with another one and with a copy of itself that was changed to be hard to match.

    Ho, Vasconcelos: Contrastive Learning with Adversarial Examples (NeurIPS 2020),
    with SimCLR's loss.

    projector: widths of the head's layers; no batch norm.
    temperature: of the softmax.
    alpha: weight of the loss with the adversarial view.
    epsilon: how far a pixel may move, after normalisation.

    The adversarial view is one step along the sign of the gradient of the loss, from the first view
    itself, with that view's adversarial embedding held. It is not clipped to the range of images. Adversarial
    batches have batch norms of their own in the encoder; the exported encoder has the clean ones.
    Rate and head are those of the authors' code; the rate follows a cosine where theirs is constant, and
    views have no blur.
    """

    optimisation = Optimisation(optimizer="adam", lr=3e-4, reference_batch=None, weight_decay=0.0, warmup_epochs=0)
    augmentation = Augmentation(scale=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, grayscale=0.2, blur=0.0)

    def __init__(
        self,
        encoder: Encoder,
        *,
        projector: Sequence[int] = (512, 64),
        temperature: float = 0.5,
        alpha: float = 1.0,
        epsilon: float = 0.03,
    ):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, *projector, norm=False)
        self.adversarial_norms = DualNorm(encoder)
        self.temperature, self.epsilon = temperature, epsilon
        self.weights = {"contrastive": 1.0, "adversarial": alpha}

    def idle(self) -> dict[str, str]:
        """How far pixels move, where the adversarial view does not count."""
        return {} if self.weights["adversarial"] else {"epsilon": "with alpha=0"}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss of two views, or the mean over the pairs of more, and of the first with its adversarial copy."""
        z = together(self.embed, batch.views)
        adversarial = self.attack(batch.views[0])
        with self.adversarial_norms.within(self.encoder):
            hard = self.embed(adversarial)
        terms = {
            "contrastive": mean([losses.nt_xent(za, zb, self.temperature) for za, zb in pairs(z)]),
            "adversarial": losses.nt_xent(z[0], hard, self.temperature),
        }
        return weighted_sum(terms, self.weights)

    @torch.enable_grad()
    def attack(self, view: Tensor) -> Tensor:
        """`view` with each pixel moved by `epsilon` to where it is told worse from the batch by its old embedding.

        No gradient goes into the network, and batch norm does not count a batch.
        """
        pixels = view.detach().clone().requires_grad_()
        with self.adversarial_norms.within(self.encoder):
            z = frozen(nn.Sequential(self.encoder, self.projector), pixels)
        # Starting where both sides see the same pixels, one forward pass serves the held side and the moved one.
        loss = losses.nt_xent(z.detach(), z, self.temperature)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return (pixels + self.epsilon * gradient.sign()).detach()

    def embed(self, view: Tensor) -> Tensor:
        """Projections `z`, by the clean batch norms."""
        return self.projector(self.encoder(view))

    def param_groups(self) -> list[dict[str, Any]]:
        """Weight decay on all parameters, as in the authors' code."""
        return all_decayed(self)
