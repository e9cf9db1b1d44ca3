"""What features tell of a nuisance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from selfsight.probes import Ridge
from selfsight.protocols.base import Answer, ClassTask, Protocol, Trial


@dataclass(frozen=True)
class Groups(Protocol):
    """How well a column that should not matter, such as the scanner, is read from features: less is better.

    Balanced accuracy of a ridge classifier beside its chance, one over the number of groups, as OpenBHB (Dufumier et
    al., NeuroImage 2022) asks for the site.

    of: the column.
    """

    shown: ClassVar[str] = "balanced"
    wants_label: ClassVar[bool] = False

    of: str = ""

    def task(self, trial: Trial) -> ClassTask:
        """The group of each image."""
        if not self.of:
            raise ValueError("groups wants a column that should not matter, such as --groups.of site")
        return trial.classes(self.of)

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for row, train, test in task.features():
            probe = Ridge().fit(train, task.train)
            yield task.answer(row, probe.decide(test), probe.classes_, alpha=probe.alpha_)
