"""Features of all images of a source: one pass over the data for any number of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.data.canvas import Canvas
from selfsight.views import ViewSet

PIXEL_SIDE = 32


@torch.no_grad()
def extract_features(
    functions: Mapping[str, Callable[[Tensor], Tensor]],
    lane: Iterable[list[Canvas]],
    view_set: ViewSet,
    device: torch.device | str = "cpu",
    *,
    precision: str = "32",
) -> tuple[dict[str, Tensor], Tensor]:
    """Features by name, each `(N, ...)` float32 on the CPU, and the index `(N,)` of each row in its source.

    functions: from a view `(B, C, *S)` to features `(B, ...)`; modules are expected in evaluation mode.
    lane: batches of canvases, in any order; an image that cannot be read has no row.
    view_set: one view of each image, normalised, such as `original(size)`.
    precision: "32", or "bf16" for autocast.
    Rows are in the order of the index.
    """
    device = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, list[Tensor]] = {name: [] for name in functions}
    indices: list[Tensor] = []
    for canvases in lane:
        batch = view_set([canvas.to(device, non_blocking=True) for canvas in canvases], generator)
        (view,) = batch.views
        indices.append(batch.index.cpu())
        for name, function in functions.items():
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                features = function(view)
            parts[name].append(features.float().cpu())
    if not indices:
        raise ValueError("no image could be read: the log names them")
    index, order = torch.cat(indices).sort()
    return {name: torch.cat(tensors)[order] for name, tensors in parts.items()}, index


def pixels(view: Tensor) -> Tensor:
    """The pixels of a view `(B, C, *S)` as features `(B, D)`, averaged down to at most 32 a side."""
    sides = [min(side, PIXEL_SIDE) for side in view.shape[2:]]
    pool = F.adaptive_avg_pool2d if len(sides) == 2 else F.adaptive_avg_pool3d
    return pool(view, sides).flatten(1)
