"""Several tags an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from selfsight.probes import Ridge
from selfsight.protocols.base import Answer, Protocol, TagTask, Trial


@dataclass(frozen=True)
class Multilabel(Protocol):
    """Ridge regression of each tag by itself, of the images of which it is known: mean average precision, macro AUC.

    As VOC 2007 and ChestX-ray14 are scored on frozen features (Kornblith et al., CVPR 2019; Wang et al., CVPR 2017).

    of: columns of 0 and 1, by commas; or one column of words with commas between them.
    """

    wants_label: ClassVar[bool] = False

    of: str = ""

    def task(self, trial: Trial) -> TagTask:
        """Whether each tag is there."""
        return trial.tags([name.strip() for name in self.of.split(",") if name.strip()])

    def __call__(self, task: TagTask) -> Iterator[Answer]:
        for row, train, test in task.features():
            yield task.answer(row, torch.stack([scores(train, tag, test) for tag in task.train.T], dim=1))


def scores(train: Tensor, tag: Tensor, test: Tensor) -> Tensor:
    """How likely a tag is for test images `(M,)`, learned from the training images of which it is known."""
    known = tag >= 0
    return Ridge().fit(train[known], tag[known].double()).predict(test)
