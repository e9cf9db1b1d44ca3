"""Ridge regression of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.probes import Ridge as Regression
from selfsight.protocols.base import Answer, ClassTask, Protocol


@dataclass(frozen=True)
class Ridge(Protocol):
    """Ridge regression of one-hot classes on standardised features, exact, its penalty by leave-one-out.

    Nothing is drawn at random, so that differences are those of features alone.
    """

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for row, train, test in task.features():
            probe = Regression().fit(train, task.train)
            yield task.answer(row, probe.decide(test), probe.classes_, alpha=probe.alpha_)
