"""Which of an encoder's features are judged: a layer, several of them side by side, and how positions are pooled."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.nets import Encoder
from selfsight.probes.options import check_choice

POOLS = ("cls", "mean", "cls+mean")


class Reading(nn.Module):
    """Features `(B, D)` of some layers of an encoder, side by side.

    layers: numbers of blocks or stages from the first, 0, each with its map or tokens; pool: "cls", the class token,
    "mean", the mean over positions, or "cls+mean", both. A ViT's tokens go through its final norm.
    """

    def __init__(self, encoder: Encoder, layers: Sequence[int], pool: str):
        super().__init__()
        self.encoder = encoder
        self.layers = list(layers)
        self.pool = pool
        self.depth = depth(encoder)

    def forward(self, x: Tensor) -> Tensor:
        first = min(self.layers)
        found = self.encoder.features(x, layers=self.depth - first).layers
        return torch.cat([self.pooled(found[layer - first]) for layer in self.layers], dim=1)

    def pooled(self, layer: Tensor) -> Tensor:
        """One layer's features."""
        if not self.encoder.takes_keep:
            return layer.flatten(2).mean(dim=2)
        tokens, prefix = self.encoder.model.norm(layer), self.encoder.prefix
        parts = {"cls": tokens[:, 0], "mean": tokens[:, prefix:].mean(dim=1)}
        return torch.cat([parts[name] for name in self.pool.split("+")], dim=1)


class Maps(nn.Module):
    """The map `(B, D, *grid)` of what is read of an encoder: of its last layer, or of those of a `Reading`.

    Maps of several layers lie side by side, resized to the finest of them. Raises `ValueError` for an encoder that has
    no map.
    """

    def __init__(self, read: Encoder | Reading):
        super().__init__()
        self.encoder: Encoder = read.encoder if isinstance(read, Reading) else read
        self.layers = read.layers if isinstance(read, Reading) else [-1]
        self.depth = depth(self.encoder)
        if not self.depth:
            raise ValueError(
                f"the encoder {self.encoder.spec.name!r} answers pooled features alone and has no map: ResNets, "
                "ConvNeXts and ViTs have one, and modules of your own with timm's forward_intermediates"
            )

    def forward(self, x: Tensor) -> Tensor:
        layers = [layer % self.depth for layer in self.layers]
        first = min(layers)
        found = self.encoder.features(x, layers=self.depth - first).layers
        maps = [self.as_map(found[layer - first], x) for layer in layers]
        grid = max((tuple(one.shape[2:]) for one in maps), key=math.prod)
        mode = "bilinear" if len(grid) == 2 else "trilinear"
        return torch.cat([one if one.shape[2:] == grid else F.interpolate(one, grid, mode=mode) for one in maps], dim=1)

    def as_map(self, layer: Tensor, x: Tensor) -> Tensor:
        """A layer's tokens after the final norm, or its map, `(B, D, *grid)`."""
        if not self.encoder.takes_keep:
            return layer
        patches = self.encoder.model.norm(layer)[:, self.encoder.prefix :]
        return patches.transpose(1, 2).unflatten(2, self.encoder.grid(tuple(x.shape[2:])))


def depth(encoder: Encoder) -> int:
    """How many blocks or stages can be read."""
    return len(encoder.model.blocks) if encoder.takes_keep else len(encoder.maps)


def readings(encoder: Encoder, layer: Any = None, pool: str | None = None) -> dict[str, nn.Module]:
    """What is read of an encoder, by the end of its row's name: "" where it is one thing.

    layer: a number, from the end where it is negative; several, to be laid side by side; "all", each by itself; None
        for the encoder's own pooled features. pool: see `Reading`.

    Raises:
        ValueError: for layers and tokens that the encoder does not have.
    """
    if layer is None and pool is None:
        return {"": encoder}
    count = depth(encoder)
    if not count:
        raise ValueError(f"the encoder {encoder.spec.name!r} answers pooled features alone: leave layer and pool out")
    if pool is None:
        pool = "cls" if encoder.takes_keep and encoder.model.global_pool == "token" else "mean"
    if "cls" in pool and not (encoder.takes_keep and encoder.prefix):
        raise ValueError(f"the encoder {encoder.spec.name!r} has no class token: set pool to mean")
    if layer == "all":
        return {f" layer {number}": Reading(encoder, [number], pool) for number in range(count)}
    asked = [count - 1] if layer is None else numbers_of(layer)
    for number in asked:
        if not -count <= number < count:
            raise ValueError(
                f"layer {number} is none of {encoder.spec.name!r}, which has {count}: 0 to {count - 1}, -1 the last"
            )
    return {"": Reading(encoder, [number % count for number in asked], pool)}


def numbers_of(layer: Any) -> list[int]:
    """The numbers of layers, as Python or as a shell gives them. Raises `ValueError` for anything else."""
    given: list[Any] = layer.split(",") if isinstance(layer, str) else list(layer) if is_several(layer) else [layer]
    found = [int(one) if isinstance(one, str) and re.fullmatch(r"\s*-?\d+\s*", one) else one for one in given]
    numbers = [one for one in found if isinstance(one, int) and not isinstance(one, bool)]
    if not found or len(numbers) < len(found):
        raise ValueError(f"layer is a number such as -1, several such as 8,9,10,11, or all, and not {layer!r}")
    return numbers


def is_several(layer: Any) -> bool:
    """Whether several layers are asked for."""
    return isinstance(layer, list | tuple)


def check_layers(layer: Any, pool: Any) -> None:
    """Raise a `ValueError` for what no encoder can be asked."""
    if layer is not None and layer != "all":
        numbers_of(layer)
    if pool == "attentive":
        raise ValueError(
            "attentive pooling is learned with the classifier: leave pool out and add --protocols attentive"
        )
    if pool is not None:
        check_choice("pool", pool, POOLS)
