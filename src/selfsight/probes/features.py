"""Features of all images of a source: one pass over the data for any number of functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsight.data import Canvas, Source, open_lane
from selfsight.nets import EncoderSpec
from selfsight.views import ViewSet, original

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
    sides: Any = tuple(min(side, PIXEL_SIDE) for side in view.shape[2:])
    pool = F.adaptive_avg_pool2d if len(sides) == 2 else F.adaptive_avg_pool3d
    return pool(view, sides).flatten(1)


class Reader:
    """Reads a source as an encoder wants it: its size, its normalisation, un-augmented.

    `reader(functions, source)` answers features by name and the index of each row.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        image_size: int | None = None,
        *,
        batch_size: int = 256,
        workers: int | None = None,
        device: str | torch.device = "auto",
        precision: str = "32",
    ):
        self.size = image_size or spec.image_size
        self.view_set = original(self.size).normalised(spec.mean, spec.std)
        self.batch_size = batch_size
        self.workers = workers
        self.device = find_device(device)
        self.precision = precision

    def __call__(
        self, functions: Mapping[str, Callable[[Tensor], Tensor]], source: Source
    ) -> tuple[dict[str, Tensor], Tensor]:
        for function in functions.values():
            if isinstance(function, nn.Module):
                function.to(self.device)
        side = self.size if isinstance(self.size, int) else max(self.size)
        lane = open_lane(
            source,
            self.batch_size,
            view_size=side,
            device=self.device,
            workers=self.workers,
            shuffle=False,
            drop_last=False,
        )
        return extract_features(functions, lane, self.view_set, self.device, precision=self.precision)


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name; "auto" is the first GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError as error:
        raise ValueError(f"unknown devices {name!r}: use auto, cpu, gpu, or one GPU such as cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"devices={str(name)!r}, but torch sees {torch.cuda.device_count()} GPUs here: use devices='cpu'"
        )
    return device
