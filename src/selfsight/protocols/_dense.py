"""Patches and pixels: features of patches to learn from, and classes of pixels made of scores of patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.data import Source
from selfsight.metrics.pixels import count_pixels
from selfsight.probes.features import Function, Reader
from selfsight.probes.reading import Maps
from selfsight.protocols.base import MaskTask, Protocol, Trial

Counts = tuple[Tensor, Tensor, Tensor]

KNOWN = 0.5  # of a patch's pixels, to be learned from


@dataclass(frozen=True)
class OfPixels(Protocol):
    """A protocol that asks for the class of each pixel.

    classes: numbers of masks from 0 that are classes, any other an error; 0 for those that training masks hold.
    ignore: numbers of pixels that do not count. of: the column of masks.
    """

    wants_label: ClassVar[bool] = False
    wants_features: ClassVar[bool] = False

    classes: int = 0
    ignore: tuple[int, ...] = (255,)
    of: str = "mask"

    def __post_init__(self) -> None:
        if self.classes < 0 or self.classes == 1:
            raise ValueError(f"classes are at least two, or 0 for those that masks hold, not {self.classes}")

    def task(self, trial: Trial) -> MaskTask:
        """The class of each pixel."""
        return trial.masks(self.of, self.classes, self.ignore)


@dataclass(frozen=True)
class Patches:
    """Patches of training images: features `(N, D)`, shares of the classes `(N, C)`, and the image of each `(N,)`."""

    x: Tensor
    shares: Tensor
    image: Tensor


def train_patches(task: MaskTask, maps: Maps, reader: Reader, most: int) -> Patches:
    """At most about `most` patches, as many of each training image, drawn by the seed and the image's place.

    A patch of which nobody knows half of the pixels is left out.
    """
    train, _ = task.sources(reader)
    each = max(1, -(-most // len(train)))
    rows, shares, images = [], [], []
    for index, found in reader.batches({"maps": maps}, train):
        for image, one in zip(index.tolist(), found["maps"].cpu(), strict=True):
            part, known = shares_of(task.mask(train, image), tuple(one.shape[1:]), len(task.names))
            places = (known >= KNOWN).nonzero().flatten().numpy()
            chosen = np.random.default_rng([task.seed, int(task.train_rows[image])]).permutation(places)[:each]
            chosen = torch.from_numpy(np.sort(chosen))
            rows.append(one.flatten(1).T[chosen])
            shares.append(part[chosen])
            images.append(torch.full((len(chosen),), image))
    image, order = torch.cat(images).sort(stable=True)
    return Patches(torch.cat(rows)[order], torch.cat(shares)[order], image)


def shares_of(mask: Tensor, grid: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Of each cell of a grid, row by row, the shares of the classes among its known pixels `(N, C)`, and how much of
    it is known `(N,)`."""
    cells = torch.zeros(1, dtype=torch.int64)
    for axis, (side, count) in enumerate(zip(mask.shape, grid, strict=True)):
        place = ((torch.arange(side) + 0.5) * count / side).long()
        shape = [1] * mask.ndim
        shape[axis] = side
        cells = cells * count + place.view(shape)
    counts = torch.bincount(
        (cells * (classes + 1) + mask + 1).flatten(), minlength=int(np.prod(grid)) * (classes + 1)
    ).view(-1, classes + 1)
    known = counts[:, 1:].sum(dim=1)
    return counts[:, 1:] / known.clamp_min(1)[:, None], known / counts.sum(dim=1).clamp_min(1)


def judge_pixels(task: MaskTask, test: Source, reader: Reader, scores: Function) -> list[Counts]:
    """Counts of pixels of each test image, in their order.

    scores: of views `(B, C, *S)`, a map for each class `(B, classes, h, w)`, resized to the mask, bilinearly, before
    the highest is taken.
    """
    counts: dict[int, Counts] = {}
    for index, found in reader.batches({"scores": scores}, test):
        for image, one in zip(index.tolist(), found["scores"].cpu(), strict=True):
            truth = task.mask(test, image)
            predicted = F.interpolate(one[None], tuple(truth.shape), mode="bilinear")[0].argmax(dim=0)
            counts[image] = count_pixels(predicted, truth, len(task.names))
    assert len(counts) == len(test), "images that cannot be read were left out before"
    return [counts[image] for image in range(len(test))]


def by_patch(maps: Maps, score: Callable[[Tensor], Tensor]) -> Function:
    """Scores of views from those of the features `(N, D)` of their patches."""

    def scores(view: Tensor) -> Tensor:
        batch = maps(view)
        found = score(batch.movedim(1, -1).flatten(0, -2))
        return found.unflatten(0, (len(batch), *batch.shape[2:])).movedim(-1, 1)

    return scores
