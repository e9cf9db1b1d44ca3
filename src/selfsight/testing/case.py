"""What the battery is told of a method: one `Case`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import nn

from selfsight.methods import find_method
from selfsight.methods.base import Method
from selfsight.nets import Encoder, as_encoder, build_encoder
from selfsight.testing.images import SIZE
from selfsight.testing.training import begin_epoch, prepare

Build = str | Callable[..., Method]
"""A method as `pretrain` takes it: a name, a dotted path, a class, or what `with_options` answers."""


@dataclass(frozen=True)
class Learn:
    """How a method trains in the battery, and what it must have learned by then.

    steps, lr: of AdamW, on two batches of 24 images.
    least: how much of the way to perfect progress (accuracy 1, error 0) must be gone.
    spread: of the embeddings; below, they have collapsed.
    redrawn: whether views are drawn anew at each visit, for methods that see one view of an image at a time
        and learn what its views share from visit to visit; else the same two batches come again and again.
    """

    steps: int = 40
    lr: float = 3e-3
    least: float = 0.2
    spread: float = 0.1
    redrawn: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What the battery tries a method with.

    options: keywords that shrink its heads and shorten its schedules.
    encoder: "resnet", "vit", or a function without arguments that builds one for images of `SIZE` pixels.
    own_views: whether its views are part of it, so that small crops do not join them.
    learns: its own recipe, where the common one does not suit.
    state: the parts of its state that remember images or past embeddings, by the start of their names ("queue"):
        they must change in training, differ from image to image, and be the same on every rank.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    encoder: str | Callable[[], Encoder] = "resnet"
    own_views: bool = False
    learns: Learn = field(default_factory=Learn)
    state: tuple[str, ...] = ()

    def build(self, method: Build, *, seed: int = 0, **options: Any) -> Method:
        """The method, small, with weights drawn from `seed`, prepared and at the start of its first epoch."""
        torch.manual_seed(seed)
        own = deepcopy({**self.options, **options})  # a teacher among them is moved with the method
        built = find_method(method)(small_encoder(self.encoder), **own)
        prepare(built)
        begin_epoch(built)
        return built


def small_encoder(encoder: str | Callable[[], Encoder] = "resnet") -> Encoder:
    """A ResNet with batch norm, or a ViT, of about a hundred thousand parameters; or one of your own."""
    if callable(encoder):
        return encoder()
    if encoder == "vit":
        return build_encoder("vit_small_image", image_size=SIZE, embed_dim=48, depth=2, num_heads=3)
    if encoder != "resnet":
        raise ValueError(f"the battery has no encoder {encoder!r}: use 'resnet', 'vit', or a function that builds one")
    block: Any = BasicBlock
    resnet = ResNet(block, (1, 1, 1, 1), channels=(16, 32, 32, 64), num_classes=0, zero_init_last=False)
    resnet.maxpool = nn.Identity()
    return as_encoder(resnet, image_size=SIZE)


def class_of(method: Build) -> type[Method]:
    """The class behind a method as `pretrain` takes it."""
    found: Any = find_method(method)
    built: Any = found.func if isinstance(found, partial) else found
    return built
