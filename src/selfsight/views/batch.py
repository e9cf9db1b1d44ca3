"""What a method receives: views of the same images, and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Batch:
    """Views of `B` images, made by a view set.

    views: tensors `(B, C, *size)`, normalised, float32, in the order of the view set;
        sizes may differ between views (multi-crop). Row `i` of every view is image `i`.
    index: `(B,)` int64, position of each image in its source.
    metadata: numeric columns by name, each `(B,)`; "label" is int64, -1 where missing.
    masks: by name, what the view set's masks drew: `(B, K)` int64 indices of kept patches.
    """

    views: list[Tensor]
    index: Tensor
    metadata: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)


def image_layout(view: Tensor) -> Tensor:
    """2-D images with channels last, which convolutions prefer; volumes as they are."""
    return view.contiguous(memory_format=torch.channels_last) if view.ndim == 4 else view
