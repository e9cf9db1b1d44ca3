"""An adversarial method under the battery: two players, one optimiser, one backward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from selfsight.methods.base import Method, Optimisation, Wants, all_decayed, frozen
from selfsight.nets import Encoder, mlp
from selfsight.testing import (
    SIZE,
    Case,
    check_device,
    check_gradients,
    check_half_precision,
    check_optimiser,
    check_randomness,
    check_resumes,
    check_state,
    check_two_ranks,
    small_batches,
)
from selfsight.views import Augmentation, Batch, Size, ViewSet, draws, random_view, two_views


class TwoPlayers(Method):
    """Encoder and generator against a critic of pairs of images and codes.

    Donahue, Krähenbühl, Darrell: Adversarial Feature Learning (ICLR 2017), eq. 2-3, with non-saturating losses.
    """

    optimisation = Optimisation(optimizer="adam", lr=2e-4, betas=(0.5, 0.999), clip=10.0, clip_by="part")
    wants = Wants(views=1, smallest_batch=2)

    def __init__(self, encoder: Encoder, *, hidden: int = 32):
        super().__init__(encoder)
        self.pixels = encoder.spec.channels * SIZE**2
        self.generator = mlp(encoder.width, hidden, self.pixels)
        self.critic = mlp(self.pixels + encoder.width, hidden, 1)

    def views(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """One view."""
        return ViewSet((random_view(size, augmentation.of_view(0)),))

    def watched(self, size: Size, augmentation: Augmentation) -> ViewSet:
        """Two views, to see whether their codes match."""
        return two_views(size, augmentation)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Both players' losses in one sum; each reaches its own player's parameters alone."""
        image = batch.views[0]
        code = self.encoder(image)
        noise = draws.normal(batch.seed, (code.shape[1],)).to(code.dtype)
        real = torch.cat([image.flatten(1), code], 1)
        made = torch.cat([self.generator(noise), noise], 1)
        scores = (self.critic(real.detach()), self.critic(made.detach()))
        told = softplus(-scores[0].float()).mean() + softplus(scores[1].float()).mean()
        scores = (frozen(self.critic, real), frozen(self.critic, made))
        fooled = softplus(scores[0].float()).mean() + softplus(-scores[1].float()).mean()
        return {"loss": told + fooled, "critic": told.detach(), "players": fooled.detach()}

    def embed(self, view: Tensor) -> Tensor:
        """Codes."""
        return self.encoder(view)

    def param_groups(self) -> list[dict[str, Any]]:
        """A critic that learns faster, by betas of its own."""
        players: nn.Module = nn.ModuleList([self.encoder, self.generator])
        return [*all_decayed(players), *all_decayed(self.critic, lr_scale=4.0, betas=(0.0, 0.9))]


CASE = Case(own_views=True)
CHECKS = (
    check_gradients,
    check_optimiser,
    check_half_precision,
    check_randomness,
    check_state,
    check_device,
    check_two_ranks,
    check_resumes,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_two_players_pass(check):
    check(TwoPlayers, CASE)


def test_each_player_learns_from_its_own_loss_alone():
    """The critic's gradient is that of its loss with the players held, theirs that of theirs with the critic held."""
    method = CASE.build(TwoPlayers).eval()
    (batch,) = small_batches(method, count=1)
    method(batch)["loss"].backward()
    whole = {name: parameter.grad.clone() for name, parameter in method.named_parameters()}

    def alone(held: nn.Module, sign: float) -> dict[str, Tensor]:
        for parameter in held.parameters():
            parameter.requires_grad_(False)
        method.zero_grad()
        code = method.encoder(batch.views[0])
        noise = draws.normal(batch.seed, (code.shape[1],))
        real = method.critic(torch.cat([batch.views[0].flatten(1), code], 1))
        made = method.critic(torch.cat([method.generator(noise), noise], 1))
        (softplus(-sign * real).mean() + softplus(sign * made).mean()).backward()
        for parameter in held.parameters():
            parameter.requires_grad_(True)
        return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}

    players = nn.ModuleList([method.encoder, method.generator])
    found = {**alone(method.critic, -1.0), **alone(players, 1.0)}
    assert found.keys() == whole.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(whole[name], gradient, msg=lambda m, name=name: f"{name}: {m}")
