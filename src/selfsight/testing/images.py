"""Small images with something to see, and batches of a method's own views of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from selfsight.data.canvas import Canvas, full_canvas
from selfsight.methods.base import Method
from selfsight.views import Augmentation, Batch, ViewSet, original

SIZE, IMAGES, CLASSES = 24, 24, 4

EASY: dict[str, Any] = {
    "scale": (0.6, 1.0),
    "global_scale": (0.6, 1.0),
    "local_scale": (0.2, 0.6),
    "jitter": (0.2, 0.2, 0.2, 0.05),
    "grayscale": 0.0,
}
"""Views mild enough to be learned in forty steps."""
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def textures(images: int = IMAGES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images `(N, 3, SIZE, SIZE)` uint8 of stripes over patches of colour, brighter at
    the top; and their class `(N,)`, the direction of the stripes."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(images) % CLASSES
    angle = angles(label, generator)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    frequency, phase = 2 + 4 * torch.rand(images, generator=generator), 6 * torch.rand(images, generator=generator)
    along = angle.cos()[:, None, None] * rows + angle.sin()[:, None, None] * columns
    stripes = (2 * torch.pi * frequency[:, None, None] * along + phase[:, None, None]).sin()
    patches = torch.rand(images, 3, 4, 4, generator=generator)
    colours = nn.functional.interpolate(patches, size=SIZE, mode="bilinear", align_corners=True)
    pixels = 0.7 * colours + 0.1 * stripes[:, None] + 0.3 * (1 - rows)
    return (pixels.clamp(0, 1) * 255).to(torch.uint8), label


def angles(label: Tensor, generator: torch.Generator) -> Tensor:
    """Direction of the stripes of each image, in radians."""
    return (label + 0.5 * torch.rand(len(label), generator=generator)) * torch.pi / CLASSES


def metadata(images: int = IMAGES, seed: int = 0) -> dict[str, Tensor]:
    """What is known of the images of `textures`: their "label", and "target", the angle of the stripes in degrees."""
    label = torch.arange(images) % CLASSES
    return {"label": label, "target": torch.rad2deg(angles(label, torch.Generator().manual_seed(seed)))}


def small_canvases(count: int = 2, images: int = IMAGES) -> list[Canvas]:
    """`count` batches of textures, each with what is known of its images."""
    pixels, known = textures(count * images)[0], metadata(count * images)
    return [
        full_canvas(pixels[part], part, {name: column[part] for name, column in known.items()})
        for part in torch.arange(count * images).split(images)
    ]


def small_views(method: Method, *, watched: bool = False, crops: bool = False) -> ViewSet:
    """The method's own views, mild. watched: those for `progress`. crops: two small ones join two large ones."""
    easy: Augmentation = replace(method.augmentation, **EASY)
    if crops or method.augmentation.crops[1]:
        easy = replace(easy, crops=(2, 2))
    return (method.watched if watched else method.views)(SIZE, easy).normalised(MEAN, STD)


def small_batches(
    method: Method,
    count: int = 2,
    images: int = IMAGES,
    *,
    watched: bool = False,
    crops: bool = False,
    seed: int = 0,
) -> list[Batch]:
    """Batches of the method's own views, the same whenever asked for with the same seed."""
    views = small_views(method, watched=watched, crops=crops)
    generator = torch.Generator().manual_seed(seed)
    return [views([canvas], generator) for canvas in small_canvases(count, images)]


def plain_views(images: int) -> Tensor:
    """The first `images` textures as evaluation sees them, normalised."""
    (canvas,) = small_canvases(1, images)
    return original(SIZE).normalised(MEAN, STD)([canvas], torch.Generator()).views[0]
