"""Heads on top of an encoder: projectors, predictors, prototypes, DINO's head."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


def mlp(
    width: int,
    *dims: int,
    norm: bool = True,
    last_norm: bool = False,
    last_affine: bool | Literal["scale"] = True,
    bias: bool | None = None,
    last_bias: bool | None = None,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear layers `width -> dims[0] -> ... -> dims[-1]`, an activation between any two.

    norm: batch norm before each activation. last_norm: batch norm on the output as well.
    last_affine: whether that one is scaled and shifted; "scale" for scaled alone.
    bias, last_bias: of the hidden layers and of the last; None for one where no norm follows.
    """
    if not dims:
        raise ValueError("an mlp wants at least one output dimension")
    bias = not norm if bias is None else bias
    last_bias = not last_norm if last_bias is None else last_bias
    *hidden, (before_last, last) = pairwise((width, *dims))
    layers: list[nn.Module] = []
    for before, after in hidden:
        layers += [nn.Linear(before, after, bias=bias)]
        layers += [nn.BatchNorm1d(after)] if norm else []
        layers += [activation()]
    layers += [nn.Linear(before_last, last, bias=last_bias)]
    layers += [_output_norm(last, last_affine)] if last_norm else []
    return nn.Sequential(*layers)


def _output_norm(width: int, affine: bool | Literal["scale"]) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(width, affine=bool(affine))
    if affine == "scale":
        norm.bias.requires_grad_(False)
    return norm


class Prototypes(nn.Linear):
    """`count` learned directions of `dim` numbers: scores `(B, count)` of `z (B, dim)`."""

    def __init__(self, dim: int, count: int):
        super().__init__(dim, count, bias=False)
        self.normalise()

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring every prototype back to length one."""
        self.weight.copy_(F.normalize(self.weight, dim=1))


class DINOHead(nn.Module):
    """Three layers with GELU, a bottleneck of length one, and a weight-normed last layer.

    Caron et al.: Emerging Properties in Self-Supervised Vision Transformers (ICCV 2021).

    norm_last_layer: hold the rows of the last layer at length one, instead of learning it.
    """

    def __init__(
        self,
        width: int,
        out: int = 65536,
        *,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        norm_last_layer: bool = True,
        batch_norm: bool = False,
    ):
        super().__init__()
        dims = (*[hidden] * (layers - 1), bottleneck)
        self.mlp = mlp(width, *dims, norm=batch_norm, bias=True, last_bias=True, activation=nn.GELU)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last = weight_norm(nn.Linear(bottleneck, out, bias=False))
        length = self.last.get_parameter("parametrizations.weight.original0")
        nn.init.ones_(length)
        length.requires_grad_(not norm_last_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Scores `(B, out)` of features `(B, width)`."""
        return self.last(F.normalize(self.mlp(x), dim=-1, eps=1e-6))
