"""Patches and pixels: features of patches to learn from, and classes of pixels made of scores of patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.data import Source
from selfsight.metrics.pixels import count_pixels
from selfsight.probes.features import Reader
from selfsight.probes.reading import Maps
from selfsight.protocols.base import MaskTask

KNOWN = 0.5  # of a patch's pixels, to be learned from


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


def judge_pixels(
    task: MaskTask, test: Source, maps: Maps, reader: Reader, score: Callable[[Tensor], Tensor]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Counts of pixels of each test image, in their order.

    score: from features `(N, D)` of patches to scores `(N, C)`, which are resized to the mask, bilinearly, before the
    highest is taken.
    """
    counts: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for index, found in reader.batches({"maps": maps}, test):
        batch = found["maps"]
        scores = score(batch.movedim(1, -1).flatten(0, -2)).unflatten(0, (len(batch), *batch.shape[2:])).movedim(-1, 1)
        for image, one in zip(index.tolist(), scores.cpu(), strict=True):
            truth = task.mask(test, image)
            predicted = F.interpolate(one[None], tuple(truth.shape), mode="bilinear")[0].argmax(dim=0)
            counts[image] = count_pixels(predicted, truth, len(task.names))
    assert len(counts) == len(test), "images that cannot be read were left out before"
    return [counts[image] for image in range(len(test))]
