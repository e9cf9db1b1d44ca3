"""What is asked of each image: a class, a number, tags, or which others show the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from selfsight.data import Source, subset
from selfsight.data.labels import NO_LABEL
from selfsight.data.subsets import group_numbers, stratified_order
from selfsight.metrics import Classes, Numbers, Outcome, PerImage, Tags
from selfsight.metrics.retrieval import expected_by_chance
from selfsight.nets import Encoder
from selfsight.probes.features import Function, Reader
from selfsight.probes.reading import Maps, Reading
from selfsight.probes.subjects import as_encoder_reads

if TYPE_CHECKING:
    from selfsight.protocols.base import Trial

CHANCE = "chance"


@dataclass(frozen=True)
class Answer:
    """What one encoder made of the test images.

    row: whose it is. outcome: its answers beside the truth. n_train: images that were learned from.
    variant: options of which there is a figure each, such as how many images of a class were learned from.
    settings: what was chosen on the way, such as a penalty. draw: which of several repetitions.
    """

    row: str
    outcome: Outcome
    n_train: int
    variant: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    draw: int = 0


@dataclass(frozen=True)
class Task:
    """What is asked of each image, and what is known of it.

    train, test: the truth `(N,)` or `(N, T)` of the images that have one; `train_rows` and `test_rows` are their
    positions among those of the trial. name: of the column. names: of classes or tags. notes: what is said once the
    task is begun.
    """

    trial: Trial
    train: Tensor
    test: Tensor
    name: str
    names: list[str] = field(default_factory=list)
    train_rows: Tensor = field(default_factory=lambda: torch.tensor([], dtype=torch.int64))
    test_rows: Tensor = field(default_factory=lambda: torch.tensor([], dtype=torch.int64))
    notes: tuple[str, ...] = ()

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if len(self.train_rows) == 0:  # as the trial made it, with what nobody knows
            for side in ("train", "test"):
                truth = getattr(self, side)
                rows = self.known(truth).nonzero().flatten()
                object.__setattr__(self, f"{side}_rows", rows)
                object.__setattr__(self, side, truth[rows])
        for side in ("train", "test"):
            if len(getattr(self, side)) == 0:
                source = getattr(self.trial, side)
                raise ValueError(f"no {side} image of {source.name} has a value in {self.name!r}: name another column")
        self.check()

    @property
    def truth(self) -> str:
        """What tells the truth from what it was before, where it lies in files beside the images."""
        return ""

    @property
    def seed(self) -> int:
        """What is random is a function of it."""
        return self.trial.seed

    @property
    def unknown(self) -> tuple[int, int]:
        """How many training and test images nobody knows the answer of."""
        return len(self.trial.train) - len(self.train_rows), len(self.trial.test) - len(self.test_rows)

    def known(self, truth: Tensor) -> Tensor:
        """Which rows have an answer."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise a `ValueError` where nothing can be learned."""

    def features(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Of each encoder its row and features `(N, D)` of training and of test images, in the order of the truth."""
        sides = [self.trial.store.features(source) for source in (self.trial.train, self.trial.test)]
        for row, name in self.trial.rows.items():
            yield row, sides[0][name][self.train_rows], sides[1][name][self.test_rows]

    def encoders(self, trained: bool = True) -> Iterator[tuple[str, Encoder, Reader]]:
        """Of each encoder its row, itself, not to be changed, and how it reads images; untrained ones are `scratch`
        where they are to be `trained`."""
        seen: list[Encoder] = []
        for row, function, reader in self.readings():
            found = getattr(function, "encoder", function)
            if isinstance(found, Encoder) and not any(found is one for one in seen):  # of which layers may be rows
                seen.append(found)
                yield scratch(row) if trained else row, found, reader

    def readings(self) -> Iterator[tuple[str, Function, Reader]]:
        """Of each row its name, what answers its features of a view, and how images are read for it."""
        for row, name in self.trial.rows.items():
            read = self.trial.store.reads[name]
            yield row, read.function, read.reader

    def maps(self) -> Iterator[tuple[str, Maps, Reader]]:
        """Of each encoder its row, what answers its maps, and how images are read for it."""
        for row, function, reader in self.readings():
            if isinstance(function, Encoder | Reading):
                yield row, Maps(function), reader

    def sources(self, reader: Reader | None = None) -> tuple[Source, Source]:
        """Training and test images, in the order of the truth, in the range of values that a reader's encoder takes."""
        pairs = ((self.trial.train, self.train_rows), (self.trial.test, self.test_rows))
        train, test = (subset(source, rows.numpy()) for source, rows in pairs)
        if reader is None:
            return train, test
        return as_encoder_reads(train, reader.spec), as_encoder_reads(test, reader.spec)

    def of_test(self, column: str) -> np.ndarray:
        """Numbers `(N,)` for the distinct values of a column among the test images; missing ones are each their own."""
        return group_numbers(self.trial.test, column)[self.test_rows.numpy()]

    def chance(self) -> Outcome:
        """What one would answer without seeing the images."""
        raise NotImplementedError

    def _answer(self, row: str, outcome: Outcome, draw: int, variant: dict[str, Any] | None, settings: Any) -> Answer:
        return Answer(row, outcome, len(self.train), variant or {}, settings, draw)

    def only(self, rows: Tensor | np.ndarray) -> Any:
        """The task with fewer training images: those at these positions of `train`."""
        rows = torch.as_tensor(rows)
        return dataclasses.replace(self, train=self.train[rows], train_rows=self.train_rows[rows])


@dataclass(frozen=True)
class ClassTask(Task):
    """One class an image, as its position in `names`."""

    kind: ClassVar[str] = "classes"

    def known(self, truth: Tensor) -> Tensor:
        return truth != NO_LABEL

    def check(self) -> None:
        there = self.train.unique().tolist()
        if len(there) < 2:
            only = self.names[there[0]] if there else "none"
            raise ValueError(
                f"at least two classes are wanted and the training images have {only!r} alone: check the column "
                f"{self.name!r}"
            )

    def answer(
        self,
        row: str,
        scores: Tensor,
        classes: Tensor | None = None,
        *,
        draw: int = 0,
        variant: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Answer:
        """scores: `(M, K)` of the classes at these positions, by default of all; the highest is the prediction."""
        scores = scores.detach().double().cpu()
        if classes is not None:
            all_of_them = scores.new_full((len(scores), len(self.names)), -torch.inf)
            all_of_them[:, classes.cpu()] = scores
            scores = all_of_them
        return self._answer(row, Classes(self.test, scores), draw, variant, settings)

    def chance(self) -> Outcome:
        """The commonest class of the training images for all."""
        shares = torch.bincount(self.train, minlength=len(self.names)).double()
        shares = torch.where(shares > 0, shares / len(self.train), -torch.inf)
        return Classes(self.test, shares.expand(len(self.test), -1))

    def order(self, seed: int) -> Tensor:
        """Training rows in a random order in which every beginning keeps the shares of the classes."""
        return torch.from_numpy(stratified_order(self.train.numpy(), seed).copy())

    def few(self, images: int, seed: int) -> ClassTask:
        """The task with `images` training images of each class, or all of one that has fewer, drawn by `seed`."""
        shuffled = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.train)))
        truth = self.train[shuffled]
        rank = torch.empty_like(truth)
        for number in truth.unique():
            places = (truth == number).nonzero().flatten()
            rank[places] = torch.arange(len(places))
        return self.only(shuffled[rank < images].sort().values)


@dataclass(frozen=True)
class NumberTask(Task):
    """A number an image."""

    kind: ClassVar[str] = "numbers"

    def known(self, truth: Tensor) -> Tensor:
        return ~truth.isnan()

    def check(self) -> None:
        if (self.train == self.train[0]).all():
            raise ValueError(
                f"the column {self.name!r} is {self.train[0]:g} for all training images: there is nothing to learn"
            )

    def answer(
        self, row: str, predicted: Tensor, *, draw: int = 0, variant: dict[str, Any] | None = None, **settings: Any
    ) -> Answer:
        """predicted: `(M,)`."""
        return self._answer(row, Numbers(self.test, predicted.detach().cpu()), draw, variant, settings)

    def chance(self) -> Outcome:
        """The mean of the training images for all."""
        return Numbers(self.test, self.train.mean().expand(len(self.test)))


@dataclass(frozen=True)
class TagTask(Task):
    """Several tags an image: 1, 0, or -1 where nobody knows, `(N, T)`."""

    kind: ClassVar[str] = "tags"

    def known(self, truth: Tensor) -> Tensor:
        return (truth >= 0).any(dim=1)

    def check(self) -> None:
        for name, tag in zip(self.names, self.train.T, strict=True):
            if len(tag[tag >= 0].unique()) < 2:
                raise ValueError(f"the tag {name!r} is the same for all training images: leave it out")

    def answer(
        self, row: str, scores: Tensor, *, draw: int = 0, variant: dict[str, Any] | None = None, **settings: Any
    ) -> Answer:
        """scores: `(M, T)`, higher where a tag is likelier."""
        return self._answer(row, Tags(self.test, scores.detach().double().cpu()), draw, variant, settings)

    def chance(self) -> Outcome:
        """The same score for all images."""
        return Tags(self.test, torch.zeros(self.test.shape, dtype=torch.float64))


@dataclass(frozen=True)
class IdentityTask(Task):
    """Which test images show the same, as a number for each; training images take no part."""

    kind: ClassVar[str] = "retrieval"

    def known(self, truth: Tensor) -> Tensor:
        return truth != NO_LABEL

    def check(self) -> None:
        if len(self.test.unique()) == len(self.test):
            raise ValueError(f"no two test images share a value of {self.name!r}: there is nothing to find")

    def answer(self, row: str, **each: Tensor) -> Answer:
        """each: metrics of every query `(M,)`, by name; NaN where a query does not count."""
        return Answer(row, PerImage(**each), n_train=0)

    def chance(self) -> Outcome:
        """Expected of a random order of the other images."""
        same = torch.bincount(self.test)[self.test] - 1
        return PerImage(**expected_by_chance(same.numpy(), len(self.test) - 1))


def scratch(row: str) -> str:
    """The name of an untrained encoder's row once it is trained with labels alone."""
    return f"scratch{row.removeprefix('random')}" if row.startswith("random") else row
