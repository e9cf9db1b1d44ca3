"""A few images of each class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.probes.few import shrunken_ridge
from selfsight.protocols.base import Answer, ClassTask, Protocol


@dataclass(frozen=True)
class FewShot(Protocol):
    """Ridge regression on a few training images of each class, drawn several times.

    As big_vision's few-shot evaluation (Beyer et al.): features standardised by those images, a constant of 100 beside
    them, classes as -1 and 1, a fixed penalty, in closed form. The interval is that over draws.

    shots: images of each class, a figure for each number. draws: how often they are drawn. penalty: of the weights.
    """

    shots: tuple[int, ...] = (1, 5, 10)
    draws: int = 5
    penalty: float = 1024.0

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or self.draws < 1 or self.penalty <= 0:
            raise ValueError(
                f"few_shot wants shots and draws of at least 1 and a penalty above 0, not {self.shots}, {self.draws} "
                f"and {self.penalty}"
            )

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for shots in self.shots:
            for draw in range(self.draws):
                few = task.few(shots, seed=task.seed * self.draws + draw)
                for row, train, test in few.features():
                    scores, classes = shrunken_ridge(train, few.train, test, self.penalty)
                    yield few.answer(row, scores, classes, draw=draw, variant={"shots": shots})
