"""Finding images of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from selfsight.metrics.retrieval import search
from selfsight.protocols.base import Answer, IdentityTask, Protocol, Trial


@dataclass(frozen=True)
class Retrieval(Protocol):
    """The other test images in the order of their cosine to a query, each test image once: mAP and recall@k.

    Recall@k, whether one of the k nearest shows the same, as in metric learning (Oh Song et al., CVPR 2016); mAP over
    the whole order. A query that nothing else equals does not count. Nothing is learned, and training images do not
    take part.

    of: a column of identities; by default the class.
    """

    of: str = ""

    def task(self, trial: Trial) -> IdentityTask:
        """What each image shows; values need not be classes that training images have."""
        return trial.identities(self.of or None)

    def __call__(self, task: IdentityTask) -> Iterator[Answer]:
        for row, _, test in task.features():
            yield task.answer(row, **search(test, task.test))
