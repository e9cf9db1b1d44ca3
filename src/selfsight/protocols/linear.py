"""A linear probe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.probes import Linear as Probe
from selfsight.protocols.base import Answer, ClassTask, Protocol


@dataclass(frozen=True)
class Linear(Protocol):
    """A softmax classifier on standardised features, its rate and penalty chosen on a tenth of the training images.

    The linear probe of the field, such as that of SimCLR (Chen et al., ICML 2020, section 4.2), on features that are
    computed once, without augmentation. The settings are never chosen on test images.

    epochs: how often every training image is seen. batch_size: images a step.
    lrs: learning rates to choose from. weight_decays: L2 penalties to choose from.
    """

    epochs: int = 100
    batch_size: int = 256
    lrs: tuple[float, ...] = (1e-3, 1e-2, 1e-1)
    weight_decays: tuple[float, ...] = (0.0, 1e-4, 1e-3, 1e-2)

    def __call__(self, task: ClassTask) -> Iterator[Answer]:
        for row, train, test in task.features():
            probe = Probe(
                self.lrs, self.weight_decays, epochs=self.epochs, batch_size=self.batch_size, seed=task.seed
            ).fit(train, task.train)
            chances = probe.decide(test).softmax(dim=1)
            yield task.answer(row, chances, probe.classes_, lr=probe.lr_, weight_decay=probe.weight_decay_)
