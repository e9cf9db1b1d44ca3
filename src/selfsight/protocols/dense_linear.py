"""A linear probe of patches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from selfsight.probes.arrays import Standardiser
from selfsight.probes.linear import train_heads
from selfsight.protocols._dense import OfPixels, Patches, by_patch, judge_pixels, train_patches
from selfsight.protocols.base import Answer, MaskTask

HOLD_OUT = 0.1


@dataclass(frozen=True)
class DenseLinear(OfPixels):
    """A class for each pixel, by a softmax classifier of frozen patch features; mIoU over the whole data set.

    The linear segmentation of DINOv2 (Oquab et al., TMLR 2024) with CAPI's care (Darcet et al., TMLR 2025): features
    are computed once and standardised, each patch is taught the shares of the classes among its pixels, the rate and
    penalty are those with the best IoU on a tenth of the training images. Logits are resized to the pixels of the
    mask. Several layers (`layer`) lie side by side.

    epochs: how often every patch is seen.
    batch_size: patches a step.
    lrs: learning rates to choose from.
    weight_decays: L2 penalties to choose from.
    patches: how many are learned from, as many of each training image.
    classes: numbers of masks from 0 that are classes, any other an error; 0 for those that training masks hold.
    ignore: numbers of pixels that do not count.
    of: the column of masks.
    """

    epochs: int = 20
    batch_size: int = 1024
    lrs: tuple[float, ...] = (1e-3, 1e-2)
    weight_decays: tuple[float, ...] = (0.0, 1e-3)
    patches: int = 200_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patches < 1 or self.epochs < 1 or self.batch_size < 1 or not self.lrs or not self.weight_decays:
            raise ValueError(
                f"dense_linear wants at least one patch, epoch, rate and penalty, not patches {self.patches}, epochs "
                f"{self.epochs}, batch_size {self.batch_size}, lrs {self.lrs} and weight_decays {self.weight_decays}"
            )

    def __call__(self, task: MaskTask) -> Iterator[Answer]:
        for row, maps, reader in task.maps():
            _, test = task.sources(reader)
            found = train_patches(task, maps, reader, self.patches)
            standardise = Standardiser.of(found.x)
            part = Patches(standardise(found.x), found.shares, found.image)
            lr, decay = self.choose(part, task.seed)
            weight, bias = self.trained(part, [(lr, decay)], task.seed)

            def score(
                x: Tensor, standardise: Standardiser = standardise, weight: Tensor = weight, bias: Tensor = bias
            ) -> Tensor:
                return standardise(x.cpu()) @ weight[:, 0] + bias[0]

            yield task.answer(row, judge_pixels(task, test, reader, by_patch(maps, score)), lr=lr, weight_decay=decay)

    def choose(self, part: Patches, seed: int) -> tuple[float, float]:
        """The rate and penalty that are best on the patches of images that are held out."""
        grid = list(product(self.lrs, self.weight_decays))
        images = part.image.unique()
        if len(grid) == 1 or len(images) < 2:
            return grid[0]
        shuffled = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
        held = torch.isin(part.image, shuffled[: math.ceil(HOLD_OUT * len(images))])
        rest = Patches(part.x[~held], part.shares[~held], part.image[~held])
        weight, bias = self.trained(rest, grid, seed)
        scores = [soft_iou((part.x[held] @ weight[:, place] + bias[place]).argmax(dim=1), part.shares[held])
                  for place in range(len(grid))]  # fmt: skip
        return grid[max(range(len(grid)), key=lambda place: scores[place])]

    def trained(self, part: Patches, grid: list[tuple[float, float]], seed: int) -> tuple[Tensor, Tensor]:
        """Weights and biases of a head for each rate and penalty."""
        lrs, decays = torch.tensor(grid).unbind(dim=1)
        generator = torch.Generator().manual_seed(seed)
        return train_heads(part.x, part.shares, lrs, decays, self.epochs, self.batch_size, generator)


def soft_iou(predicted: Tensor, shares: Tensor) -> float:
    """Mean IoU of one class a patch `(N,)`, counted by the shares `(N, C)` of its pixels."""
    chosen = torch.nn.functional.one_hot(predicted, shares.shape[1]).double()
    shares = shares.double()
    hits, there = (chosen * shares).sum(dim=0), shares.sum(dim=0)
    return float((hits / (chosen.sum(dim=0) + there - hits))[there > 0].mean())
