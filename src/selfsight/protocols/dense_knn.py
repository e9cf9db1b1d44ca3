"""Nearest patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from selfsight.probes.options import check_neighbours
from selfsight.protocols._dense import OfPixels, Patches, by_patch, judge_pixels, train_patches
from selfsight.protocols.base import Answer, MaskTask

SIMILARITIES_AT_ONCE = 2**24


@dataclass(frozen=True)
class DenseKNN(OfPixels):
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

    k: int = 30
    temperature: float = 0.07
    patches: int = 50_000

    def __post_init__(self) -> None:
        check_neighbours(self.k, self.temperature)
        super().__post_init__()
        if self.patches < 1:
            raise ValueError(f"dense_knn.patches are at least 1, not {self.patches}")

    def __call__(self, task: MaskTask) -> Iterator[Answer]:
        for row, maps, reader in task.maps():
            _, test = task.sources(reader)
            bank = train_patches(task, maps, reader, self.patches)
            yield task.answer(row, judge_pixels(task, test, reader, by_patch(maps, partial(self.votes, bank=bank))))

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
