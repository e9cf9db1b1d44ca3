"""What a method receives: views of the same images, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from selfsight.views.draws import seeds
from selfsight.views.geometry import Placement


@dataclass
class Batch:
    """Views of `B` images, made by a view set.

    views: tensors `(B, C, *size)`, normalised, float32, in the order of the view set;
        sizes may differ between views (multi-crop). Row `i` of every view is image `i`.
    index: `(B,)` int64, position of each image in its source.
    metadata: numeric columns by name, each `(B,)`; "label" is int64, -1 where missing.
    draws: by name, what the view set drew beside views: indices of kept patches `(B, K)`, or whatever
        answers `sample(n, generator)`, a tensor with a row for each image or several of them.
    places: where each view lies in its image, flips, turns and tiles included.
    shared_seed: differs between runs, steps and micro-batches, and is the same on all ranks.
    """

    views: list[Tensor]
    index: Tensor
    metadata: dict[str, Tensor] = field(default_factory=dict)
    draws: dict[str, Any] = field(default_factory=dict)
    places: list[Placement] = field(default_factory=list)
    shared_seed: int = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice) -> Batch:
        """Some images of the batch; what is drawn of their seeds stays the same."""
        return Batch(
            [view[rows] for view in self.views],
            self.index[rows],
            {name: column[rows] for name, column in self.metadata.items()},
            {name: each_part(drawn, lambda part: part[rows]) for name, drawn in self.draws.items()},
            [place[rows] for place in self.places],
            self.shared_seed,
        )

    @property
    def seed(self) -> Tensor:
        """`(B,)` int64, for `views.draws`: of `shared_seed` and each image's index, so that what is random
        inside a method is the same however ranks share the batch."""
        return seeds(self.shared_seed, self.index)


def each_part(drawn: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`function` of a draw, or of each of its parts."""
    return tuple(map(function, drawn)) if isinstance(drawn, tuple) else function(drawn)


def image_layout(view: Tensor) -> Tensor:
    """2-D images with channels last, which convolutions prefer; volumes as they are."""
    return view.contiguous(memory_format=torch.channels_last) if view.ndim == 4 else view
