"""Weighted nearest neighbours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.probes import KNN as Neighbours
from selfsight.probes.options import check_neighbours
from selfsight.protocols.base import Answer, ClassTask, Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KNN(Protocol):
    """The class of the nearest training images, by cosine, weighted exp(cosine / temperature).

    Wu et al.: Unsupervised Feature Learning via Non-Parametric Instance Discrimination (CVPR 2018), section 3.4; with
    the settings of DINO (Caron et al., ICCV 2021).

    k: how many neighbours vote.
    temperature: of their weights.
    """

    k: int = 20
    temperature: float = 0.07

    def __post_init__(self) -> None:
        check_neighbours(self.k, self.temperature)

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        if self.k > len(task.train):
            log.warning("k is %d and there are %d training images: all of them are neighbours", self.k, len(task.train))
        for row, train, test in task.features():
            probe = Neighbours(self.k, self.temperature).fit(train, task.train)
            votes = probe.votes(test)
            yield task.answer(row, votes / votes.sum(dim=1, keepdim=True), probe.classes_, k=probe.k_)
