"""A number from features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from selfsight.probes import Ridge
from selfsight.protocols.base import Answer, NumberTask, Protocol, Trial


@dataclass(frozen=True)
class Regression(Protocol):
    """Ridge regression of a column of numbers on standardised features, exact, its penalty by leave-one-out.

    As the age of OpenBHB (Dufumier et al., NeuroImage 2022) is read from frozen features: mean absolute error, R2, r.

    of: the column; by default the label, where labels are numbers.
    """

    wants_label: ClassVar[bool] = False

    of: str = ""

    def task(self, trial: Trial) -> NumberTask:
        """The number of each image."""
        return trial.numbers(self.of or None)

    def __call__(self, task: NumberTask) -> Iterator[Answer]:
        for row, train, test in task.features():
            probe = Ridge().fit(train, task.train)
            yield task.answer(row, probe.predict(test), alpha=probe.alpha_)
