"""A small share of the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.probes import Linear as Probe
from selfsight.protocols.base import Answer, ClassTask, Protocol


@dataclass(frozen=True)
class FewLabels(Protocol):
    """The linear probe on 1 % and on 10 % of the labels, stratified, drawn several times without replacement.

    The shares of SimCLR (Chen et al., ICML 2020, section 6). The smaller share of a draw is part of the larger one.
    The interval is that over draws.

    shares: of the training images, a figure for each. draws: how often they are drawn. epochs: of the probe.
    """

    shares: tuple[float, ...] = (0.01, 0.1)
    draws: int = 3
    epochs: int = 100

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares) or self.draws < 1:
            raise ValueError(
                f"few_labels wants shares between 0 and 1 and at least one draw, not {self.shares} and {self.draws}"
            )

    def task(self, trial):
        """The class of each image, of which the smallest share holds two."""
        task = trial.classes()
        share, kinds = min(self.shares), len(task.train.unique())
        if share * len(task.train) < kinds:
            raise ValueError(
                f"few_labels.shares {share:g} of {len(task.train):,} training images are {share * len(task.train):g}, "
                f"and there are {kinds} classes: raise shares to {kinds / len(task.train):.2g} at least"
            )
        return task

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for share in self.shares:
            for draw in range(self.draws):
                order = task.order(seed=task.seed * self.draws + draw)
                few = task.only(order[: round(share * len(order))].sort().values)
                for row, train, test in few.features():
                    probe = Probe(epochs=self.epochs, seed=task.seed).fit(train, few.train)
                    chances = probe.decide(test).softmax(dim=1)
                    yield few.answer(row, chances, probe.classes_, draw=draw, variant={"share": share})
