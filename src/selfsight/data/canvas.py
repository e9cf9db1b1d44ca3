"""A batch of decoded images on one device, whatever their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

FULL_ENOUGH = 0.7  # the share of a canvas that images must fill to share it


@dataclass(frozen=True)
class Canvas:
    """Images that share one padded tensor without being squashed.

    pixels: `(B, C, *S)` in the source's dtype, `S` two or three sizes; image `i` fills
        the corner `[:extent[i, 0], :extent[i, 1], ...]`, the rest is padding and never read.
    extent: `(B, len(S))` int64, the part of the canvas that each image fills.
    index: `(B,)` int64, position of each image in its source.
    metadata: numeric columns by name, each `(B,)`; a class label is int64 under "label",
        -1 where it is missing.
    value_range: the lowest and highest value that the source can hold; views map it to [0, 1].
    full: whether every image fills the canvas, where the maker knows.
    """

    pixels: Tensor
    extent: Tensor
    index: Tensor
    metadata: dict[str, Tensor] = field(default_factory=dict)
    value_range: tuple[float, float] = (0.0, 255.0)
    full: bool | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Sizes of the canvas, `(H, W)` or `(D, H, W)`."""
        return tuple(self.pixels.shape[2:])

    @property
    def uniform(self) -> bool:
        """Whether the canvas has no padding, known without looking at the device."""
        if self.full is not None:
            return self.full
        return self.extent.device.type == "cpu" and bool((self.extent == torch.tensor(self.spatial)).all())

    def map(self, function) -> Canvas:
        """The canvas with `function` applied to each of its tensors."""
        return Canvas(
            function(self.pixels),
            function(self.extent),
            function(self.index),
            {name: function(column) for name, column in self.metadata.items()},
            self.value_range,
            self.full,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Canvas:
        """The canvas on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Canvas:
        """The canvas in page-locked memory, for copies that overlap with compute."""
        return self.map(Tensor.pin_memory)

    def chunks(self, rows: int) -> Iterator[Canvas]:
        """Consecutive slices of at most `rows` images."""
        for start in range(0, len(self), rows):
            part = slice(start, start + rows)
            yield self.map(lambda tensor, part=part: tensor[part])


def full_canvas(
    pixels: Tensor,
    index: Tensor | None = None,
    metadata: dict[str, Tensor] | None = None,
    value_range: tuple[float, float] = (0.0, 255.0),
) -> Canvas:
    """A canvas of images that all have the same shape `(B, C, *S)`."""
    count = len(pixels)
    extent = torch.tensor(pixels.shape[2:]).expand(count, -1)
    index = torch.arange(count) if index is None else index
    extent, index = (tensor.to(pixels.device, non_blocking=True) for tensor in (extent, index))
    return Canvas(pixels, extent, index, metadata or {}, value_range, full=True)


def pad_together(arrays: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pixels `(B, C, *S)` and extent `(B, len(S))` of arrays `(C, *s)` of different shapes."""
    extent = torch.tensor([array.shape[1:] for array in arrays])
    pixels = arrays[0].new_zeros((len(arrays), arrays[0].shape[0], *extent.amax(0).tolist()))
    for row, array in zip(pixels, arrays, strict=True):
        row[(slice(None), *(slice(size) for size in array.shape[1:]))] = array
    return pixels, extent


def group_shapes(shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which images share a canvas, so that each canvas is filled to at least 70 %.

    Largest first, each image joins the canvas that it leaves fullest, or begins a new one.
    Groups and their members are in the order of the images.
    """
    if len({tuple(shape) for shape in shapes}) == 1:
        return [list(range(len(shapes)))]
    sizes = np.asarray(shapes, dtype=np.int64)
    areas = sizes.prod(1)
    groups: list[list[int]] = []
    corners = np.empty((0, sizes.shape[1]), dtype=np.int64)
    filled = np.empty(0, dtype=np.int64)
    for image in np.argsort(-areas, kind="stable").tolist():
        wider = np.maximum(corners, sizes[image])
        counts = np.array([len(group) + 1 for group in groups])
        fill = (filled + areas[image]) / (counts * wider.prod(1)) if groups else np.zeros(0)
        best = int(fill.argmax()) if groups else -1
        if best >= 0 and fill[best] >= FULL_ENOUGH:
            groups[best].append(image)
            corners[best], filled[best] = wider[best], filled[best] + areas[image]
        else:
            groups.append([image])
            corners = np.concatenate([corners, sizes[image : image + 1]])
            filled = np.append(filled, areas[image])
    return sorted(sorted(group) for group in groups)


def share_canvases(images: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None, list[int]]]:
    """Pixels, extent (None where the canvas is full) and positions of images on as few canvases as suit them."""
    shared = []
    for group in group_shapes([image.shape[1:] for image in images]):
        members = [images[position] for position in group]
        if len({image.shape for image in members}) == 1:
            shared.append((torch.stack(members), None, group))
        else:
            shared.append((*pad_together(members), group))
    return shared
