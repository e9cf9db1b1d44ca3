"""Pictures of what a network sees."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from selfsight.views import Batch, View, ViewSet

GAP = 2
SMALLEST_TILE = 96


def draw_views(batch: Batch, view_set: ViewSet, path: Path, *, columns: int = 8) -> None:
    """Write a grid of the first images of a batch: a row for each view, a column for each image.

    Normalisation is taken out again. Volumes are shown by their middle slice, and other than one or
    three channels by the first. All tiles get the size of the largest view; small views are enlarged,
    pixel by pixel.
    """
    seen = zip(batch.views, view_set.origins, strict=True)
    images = [as_rgb(restore(pixels[:columns], view)) for pixels, view in seen]
    side = max(SMALLEST_TILE, *(max(image.shape[2:]) for image in images))
    rows = [torch.cat([tile(image, side) for image in row], dim=2) for row in images]
    pixels = torch.cat(rows, dim=1).permute(1, 2, 0)
    Image.fromarray((pixels * 255).round().to(torch.uint8).numpy()).save(path)


def restore(pixels: Tensor, view: View) -> Tensor:
    """Pixels `(B, C, *S)` of a view without its normalisation, in [0, 1], on the CPU."""
    pixels = pixels.detach().float().cpu()
    if view.mean is None or view.std is None:
        return pixels
    shape = (1, -1, *[1] * (pixels.ndim - 2))
    return pixels * torch.tensor(view.std).view(shape) + torch.tensor(view.mean).view(shape)


def as_rgb(view: Tensor) -> Tensor:
    """`(B, 3, H, W)` in [0, 1] of `(B, C, *S)`."""
    if view.ndim == 5:
        view = view[:, :, view.shape[2] // 2]
    view = view if view.shape[1] == 3 else view[:, :1].expand(-1, 3, -1, -1)
    return view.clamp(0, 1)


def tile(image: Tensor, side: int) -> Tensor:
    """An image `(3, H, W)` enlarged to fit `side` and framed in white above and to the left."""
    scale = max(1, side // max(image.shape[1:]))
    enlarged = interpolate(image[None].float(), scale_factor=scale, mode="nearest")[0]
    framed = torch.ones(3, side + GAP, side + GAP)
    top, left = ((side - size) // 2 + GAP for size in enlarged.shape[1:])
    framed[:, top : top + enlarged.shape[1], left : left + enlarged.shape[2]] = enlarged
    return framed
