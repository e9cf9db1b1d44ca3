"""Nearest patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.probes.options import check_neighbours
from selfsight.protocols._dense import Patches, judge_pixels, train_patches
from selfsight.protocols.base import Answer, MaskTask, Protocol, Trial

SIMILARITIES_AT_ONCE = 2**24


@dataclass(frozen=True)
class DenseKNN(Protocol):
    """A class for each pixel, by the nearest patches of training images; mIoU over the whole data set.

    Patch kNN as of CAPI (Darcet et al., TMLR 2025) and of Hummingbird's retrieval (Balazevic et al., NeurIPS 2023):
    each training patch votes for the classes that its pixels have, by their shares, weighted
    exp(cosine / temperature); votes are resized to the pixels of the mask.

    k: how many patches vote.
    temperature: of their weights.
    patches: how many are remembered, as many of each training image.
    classes: numbers of masks from 0 that are classes, any other an error; 0 for those that training masks hold.
    ignore: numbers of pixels that do not count.
    of: the column of masks.
    """

    wants_label: ClassVar[bool] = False
    wants_features: ClassVar[bool] = False

    k: int = 30
    temperature: float = 0.07
    patches: int = 50_000
    classes: int = 0
    ignore: tuple[int, ...] = (255,)
    of: str = "mask"

    def __post_init__(self) -> None:
        check_neighbours(self.k, self.temperature)
        check_patches("dense_knn", self.patches, self.classes)

    def task(self, trial: Trial) -> MaskTask:
        """The class of each pixel."""
        return trial.masks(self.of, self.classes, self.ignore)

    def __call__(self, task: MaskTask) -> Iterator[Answer]:
        for row, maps, reader in task.maps():
            _, test = task.sources(reader)
            bank = train_patches(task, maps, reader, self.patches)
            yield task.answer(row, judge_pixels(task, test, maps, reader, lambda x, bank=bank: self.votes(x, bank)))

    def votes(self, x: Tensor, bank: Patches) -> Tensor:
        """Shares of votes `(N, C)` for patches `(N, D)`."""
        keys = F.normalize(bank.x.to(x.device), dim=1)
        shares = bank.shares.to(x.device)
        found = []
        for queries in F.normalize(x, dim=1).split(max(1, SIMILARITIES_AT_ONCE // len(keys))):
            cosine, nearest = (queries @ keys.T).topk(min(self.k, len(keys)))
            weights = (cosine / self.temperature).softmax(dim=1)
            found.append(torch.einsum("nk,nkc->nc", weights, shares[nearest]))
        return torch.cat(found)


def check_patches(name: str, patches: int, classes: int) -> None:
    """Raise a `ValueError` for options that no masks fit."""
    if patches < 1 or classes < 0 or classes == 1:
        raise ValueError(
            f"{name} wants patches to learn from and at least two classes, or 0 for those that masks hold, not patches "
            f"{patches} and classes {classes}"
        )
