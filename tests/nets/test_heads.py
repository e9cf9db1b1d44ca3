"""Heads have the layers that their papers draw."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from selfsight.nets import DINOHead, Prototypes, mlp


def drawing(head: nn.Sequential) -> str:
    """Layers in short: L linear, Lb with bias, B batch norm, Bg without beta, Bn without both, R ReLU."""
    words = []
    for layer in head:
        if isinstance(layer, nn.Linear):
            words.append("L" + "b" * (layer.bias is not None))
        elif isinstance(layer, nn.BatchNorm1d):
            words.append("Bn" if not layer.affine else "B" if layer.bias.requires_grad else "Bg")
        else:
            words.append(type(layer).__name__[0])
    return " ".join(words)


@pytest.mark.parametrize(
    ("dims", "options", "expected"),
    [
        ((16, 8), {"last_norm": True, "last_affine": "scale"}, "L B R L Bg"),  # SimCLR
        ((16, 8), {"norm": False}, "Lb R Lb"),  # MoCo v2
        ((16, 8), {"bias": True, "last_bias": False}, "Lb B R L"),  # BYOL
        ((16, 16, 16), {"last_norm": True, "last_affine": False}, "L B R L B R L Bn"),  # SimSiam's projector
        ((4, 16), {}, "L B R Lb"),  # SimSiam's predictor
        ((16, 16, 16), {"last_bias": False}, "L B R L B R L"),  # Barlow Twins
        ((16, 16, 16), {"bias": True, "last_bias": False}, "Lb B R Lb B R L"),  # VICReg
        ((16, 8), {"bias": True}, "Lb B R Lb"),  # SwAV
        ((8,), {}, "Lb"),
    ],
)
def test_layers_are_those_of_the_paper(dims, options, expected):
    head = mlp(12, *dims, **options)
    assert drawing(head) == expected
    assert head(torch.randn(4, 12)).shape == (4, dims[-1])


def test_an_mlp_wants_a_dimension():
    with pytest.raises(ValueError, match="at least one"):
        mlp(12)


def test_prototypes_have_length_one_and_score_cosines():
    prototypes = Prototypes(8, 5)
    with torch.no_grad():
        prototypes.weight.mul_(torch.arange(1, 6).unsqueeze(1))
    prototypes.normalise()
    torch.testing.assert_close(prototypes.weight.norm(dim=1), torch.ones(5))
    z = torch.randn(3, 8)
    expected = F.cosine_similarity(z.unsqueeze(1), prototypes.weight.unsqueeze(0), dim=-1)
    torch.testing.assert_close(prototypes(F.normalize(z, dim=1)), expected)
    assert prototypes.weight.requires_grad


def test_dino_scores_are_cosines_of_the_bottleneck():
    head = DINOHead(12, 20, hidden=16, bottleneck=6)
    x = torch.randn(4, 12)
    direction = head.get_parameter("last.parametrizations.weight.original1")
    expected = F.cosine_similarity(head.mlp(x).unsqueeze(1), direction.unsqueeze(0), dim=-1)
    torch.testing.assert_close(head(x), expected)
    assert [type(layer).__name__ for layer in head.mlp] == ["Linear", "GELU", "Linear", "GELU", "Linear"]
    assert DINOHead(12, 20, hidden=16, bottleneck=6, batch_norm=True)(x).shape == (4, 20)


@pytest.mark.parametrize("held", [True, False])
def test_the_length_of_dinos_last_layer_is_held_or_learned(held):
    head = DINOHead(12, 20, hidden=16, bottleneck=6, norm_last_layer=held)
    optimiser = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], lr=10.0)
    head(torch.randn(4, 12)).square().sum().backward()
    optimiser.step()
    lengths = head.last.weight.norm(dim=1)
    assert torch.allclose(lengths, torch.ones(20)) is held


def test_a_dino_head_copies_and_reloads():
    head = DINOHead(12, 20, hidden=16, bottleneck=6)
    x = torch.randn(4, 12)
    assert torch.equal(copy.deepcopy(head)(x), head(x))
    other = DINOHead(12, 20, hidden=16, bottleneck=6)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(x), head(x))
