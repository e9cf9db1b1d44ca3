"""The contract between a protocol and `evaluate`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsight.data import Source, subset
from selfsight.data.coco import Objects, coco_form, find_annotations, objects_of
from selfsight.data.labels import NO_LABEL, encode_labels, label_values, missing_classes, read_labels, why_on_a_scale
from selfsight.data.masks import MaskClasses, mask_cells, mask_classes, state_of
from selfsight.data.subsets import stratified_order
from selfsight.data.values import UnreadableImage
from selfsight.metrics import Boxes, Classes, Numbers, Outcome, PerImage, Pixels, Tags
from selfsight.metrics.boxes import match
from selfsight.metrics.pixels import count_pixels
from selfsight.metrics.retrieval import expected_by_chance
from selfsight.naming import listed, nearest, printable
from selfsight.nets import Encoder
from selfsight.nets.levels import check_flat_maps
from selfsight.probes.features import Function, Reader
from selfsight.probes.reading import Maps, Reading
from selfsight.probes.store import FeatureStore
from selfsight.probes.subjects import as_encoder_reads

log = logging.getLogger(__name__)

CHANCE = "chance"
FEW = 16


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
class Protocol:
    """What is asked of encoders.

    A subclass is a frozen dataclass: its fields are its options, its docstring names its source. `task` says what is
    asked of each image, and refuses data that cannot say it, before anything long begins. Calling the protocol with
    the task answers for one encoder after the other.

    shown: the metric that a table shows, where it is not the first of its kind. wants_label: whether it is about the
    label unless it names a column. wants_features: whether it asks for pooled features, and not for the encoders
    themselves. trains: whether it trains those, and takes as long.
    """

    shown: ClassVar[str] = ""
    wants_label: ClassVar[bool] = True
    wants_features: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def task(self, trial: Trial) -> Task:
        """What is asked: by default the class of each image."""
        return trial.classes()

    def __call__(self, task: Any) -> Iterator[Answer]:
        """An `Answer` for each encoder, or several."""
        raise NotImplementedError

    @property
    def column(self) -> str | None:
        """The column that it asks for, None for the label."""
        return getattr(self, "of", None) or None

    @property
    def options(self) -> dict[str, Any]:
        """All options and their values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Trial:
    """Images to learn from and to test on, and the features of both.

    rows: of whom features are judged, by the name of the row; their names in the store.
    group: a column of what belongs together, over whose values the test images are drawn again.
    """

    train: Source
    test: Source
    store: FeatureStore
    rows: Mapping[str, str]
    seed: int = 0
    group: str | None = None

    def readable(self, features: bool = True) -> Trial:
        """Without the images that cannot be read; features are extracted for it where they are wanted."""
        sides = {}
        for name, source in (("train", self.train), ("test", self.test)):
            mask = self.store.readable(source, features)
            sides[name] = source if mask.all() else subset(source, np.flatnonzero(mask))
        return dataclasses.replace(self, **sides)

    def classes(self, column: str | None = None) -> ClassTask:
        """The class of each image: its label, or what stands in another column.

        Raises:
            ValueError: for numbers on a scale, for fewer than two classes, and where no image has one.
        """
        if column is None:
            for source in (self.train, self.test):
                why = missing_classes(source)
                if why is not None:
                    raise ValueError(why)
            sides = [np.asarray(source.labels) for source in (self.train, self.test)]
            names = self.train.classes
        else:
            labels = read_labels(pd.concat(self.columns(column), ignore_index=True))
            if labels.classes is None:
                raise ValueError(
                    f"the column {column!r} holds {why_on_a_scale(labels.column[~np.isnan(labels.column)])}, and no "
                    "classes: regression takes it, or pandas.cut bins it"
                )
            sides, names = np.split(labels.column, [len(self.train)]), labels.classes
        count = len(names) if names else int(max(side.max(initial=-1) for side in sides)) + 1
        named = names or [str(code) for code in range(count)]
        return ClassTask(self, *(torch.from_numpy(side.copy()) for side in sides), name=column or "label", names=named)

    def numbers(self, column: str | None = None) -> NumberTask:
        """A number of each image: a column's, or the label's where labels are numbers.

        Raises:
            ValueError: for a column that holds anything else, or the same everywhere.
        """
        values = pd.concat(self.columns(column), ignore_index=True)
        numbers = as_floats(values)
        words: Any = values[np.isnan(numbers) & values.notna() & (values.astype(str).str.strip() != "")]
        if len(words):
            raise ValueError(f"the column {column or 'label'!r} holds {words.iloc[0]!r}, which is no number")
        sides = np.split(numbers, [len(self.train)])
        if np.isinf(numbers).any():
            raise ValueError(f"the column {column or 'label'!r} holds an infinite number: correct it or leave it empty")
        return NumberTask(self, *(torch.from_numpy(side.copy()) for side in sides), name=column or "label")

    def identities(self, column: str | None = None) -> IdentityTask:
        """What each image shows, whatever the values of a column are; by default the class.

        Raises:
            ValueError: where no two test images show the same.
        """
        if column is None:
            why = missing_classes(self.test)
            if why is not None:
                raise ValueError(why)
            sides = [np.full(len(self.train), 0), np.asarray(self.test.labels)]
        else:
            codes = encode_labels(pd.concat(self.columns(column), ignore_index=True))[0]
            sides = np.split(codes, [len(self.train)])
        return IdentityTask(self, *(torch.from_numpy(side.copy()) for side in sides), name=column or "label")

    def tags(self, columns: Sequence[str] = ()) -> TagTask:
        """Whether each of several things is there: a column of 0 and 1 each, or one column of words with commas.

        Raises:
            ValueError: for columns that hold anything else.
        """
        if not columns:
            raise ValueError("multilabel wants to know its tags: --multilabel.of with a column, or several by commas")
        both = [pd.concat(self.columns(column), ignore_index=True) for column in columns]
        if len(columns) == 1 and not is_binary(both[0]):
            truth, names = listed_tags(both[0])
        else:
            wrong = [column for column, values in zip(columns, both, strict=True) if not is_binary(values)]
            if wrong:
                raise ValueError(f"the column {wrong[0]!r} is one of several tags and holds more than 0, 1 and nothing")
            numbers = np.stack(list(map(as_floats, both)), axis=1)
            truth, names = np.nan_to_num(numbers, nan=-1).astype(np.int64), list(columns)
        sides = np.split(truth, [len(self.train)])
        return TagTask(self, *(torch.from_numpy(side) for side in sides), name=",".join(columns), names=names)

    def masks(self, column: str = "mask", classes: int = 0, ignore: Sequence[int] = ()) -> MaskTask:
        """The class of each pixel: see `mask_classes`.

        Raises:
            ValueError: where there are no masks, and for masks that say nothing or hold unknown numbers.
        """
        cells = [mask_cells(source, column) for source in (self.train, self.test)]
        there = [torch.tensor([path is not None for path, _ in some]).long() - 1 for some in cells]
        known, lacking = mask_classes(self.train, self.test, column, classes, tuple(ignore))
        if lacking:
            log.warning("test masks show classes that training masks lack, and count as wrong: %s", listed(lacking))
        return MaskTask(self, *there, name=column, names=known.names, classes=known)

    def objects(self, annotations: Sequence[str] = (), masks: bool = True) -> ObjectTask:
        """What is where in each image, of annotations in COCO's form.

        annotations: paths of those of training and of test images; by default where COCO has them. masks: whether they
        are asked for, where all objects have one.

        Raises:
            ValueError: where there are none, or training images show nothing.
        """
        sources = (self.train, self.test)
        files = [Path(path) for path in annotations] or [find_annotations(source) for source in sources]
        found = [objects_of(source, file) for source, file in zip(sources, files, strict=True)]
        there = [torch.tensor([one is not None for one in some]).long() - 1 for some in found]
        names = [{name for one in some if one is not None for name in one.names} for some in found]
        lacking = sorted(names[1] - names[0])
        if not names[0]:
            raise ValueError(f"{printable(files[0])} has no object in the training images: name other annotations")
        if lacking:
            log.warning("test images show categories that training lacks, which count as missed: %s", listed(lacking))
        known = [[one for one in some if one is not None] for some in found]
        state = str([state_of(str(file)) for file in files])
        masked = masks and all(one.masked for some in known for one in some)
        return ObjectTask(
            self, *there, name="objects", names=[*sorted(names[0]), *lacking],
            train_objects=known[0],
            test_objects=known[1], masked=masked, state=state,
        )  # fmt: skip

    def columns(self, column: str | None) -> list[pd.Series]:
        """A column's values of training and of test images."""
        found = []
        for source in (self.train, self.test):
            values = label_values(source) if column in (None, "label") else source.metadata.get(column)
            if values is None:
                known = [str(name) for name in source.metadata if name != "path"]
                raise ValueError(f"{source.name} has no column {column or 'label'!r}{nearest(str(column), known)}")
            found.append(pd.Series(values))
        return found


@dataclass(frozen=True)
class Task:
    """What is asked of each image, and what is known of it.

    train, test: the truth `(N,)` or `(N, T)` of the images that have one; `train_rows` and `test_rows` are their
    positions among those of the trial. name: of the column. names: of classes or tags.
    """

    trial: Trial
    train: Tensor
    test: Tensor
    name: str
    names: list[str] = field(default_factory=list)
    train_rows: Tensor = field(default_factory=lambda: torch.tensor([], dtype=torch.int64))
    test_rows: Tensor = field(default_factory=lambda: torch.tensor([], dtype=torch.int64))

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
        from selfsight.data.subsets import group_numbers

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


@dataclass(frozen=True)
class MaskTask(Task):
    """A class for each pixel; `train` and `test` are 0 for each image with a mask."""

    kind: ClassVar[str] = "pixels"

    classes: MaskClasses = field(kw_only=True)

    def known(self, truth: Tensor) -> Tensor:
        return truth >= 0

    def check(self) -> None:
        for _ in self.maps():  # an encoder without any is named
            pass
        for source in self.sources():
            for index in range(min(FEW, len(source))):  # the others are looked at when they are read
                with contextlib.suppress(UnreadableImage):
                    self.mask(source, index)

    @property
    def truth(self) -> str:
        cells = [cell for source in self.sources() for cell in mask_cells(source, self.name)]
        states = [state_of(path) for path, _ in cells if path is not None]
        return hashlib.sha256(str(states).encode()).hexdigest()[:16]

    def mask(self, source: Source, index: int) -> Tensor:
        """Classes `(H, W)` of an image's pixels, -1 where they do not count.

        Raises:
            ValueError: where the mask has another size than its image.
        """
        path, segments = mask_cells(subset(source, [index]), self.name)[0]
        assert path is not None, "images without a mask were left out before"
        mask = self.classes(path, segments)
        if tuple(mask.shape) != source.shape(index):
            raise ValueError(
                f"the mask {printable(path)} has {mask.shape[0]} x {mask.shape[1]} pixels and its image "
                f"{' x '.join(map(str, source.shape(index)))}: give masks of the size of their images"
            )
        return mask

    def maps(self) -> Iterator[tuple[str, Maps, Reader]]:
        """Of each encoder its row, what answers its maps, and how it reads images: whole, if distorted."""
        for row, maps, reader in super().maps():
            yield row, maps, reader.of_whole_images()

    def answer(self, row: str, counts: Sequence[tuple[Tensor, Tensor, Tensor]], **settings: Any) -> Answer:
        """counts: of each test image, see `count_pixels`."""
        hits, predicted, there = (torch.stack(some) for some in zip(*counts, strict=True))
        return self._answer(row, Pixels(hits, predicted, there, self.names), 0, {}, settings)

    def chance(self) -> Outcome:
        """The commonest class of the training images everywhere."""
        train, test = self.sources()
        often = sum(torch.bincount(mask[mask >= 0], minlength=len(self.names)) for mask in self.all_masks(train))
        assert isinstance(often, Tensor)
        counts = [
            count_pixels(torch.full_like(mask, int(often.argmax())), mask, len(self.names))
            for mask in self.all_masks(test)
        ]
        return self.answer(CHANCE, counts).outcome

    def all_masks(self, source: Source) -> Iterator[Tensor]:
        """The mask of each image, in their order."""
        for index in range(len(source)):
            yield self.mask(source, index)


@dataclass(frozen=True)
class ObjectTask(Task):
    """What is where in each image; `train` and `test` are 0 for each image that is annotated.

    masked: whether masks are asked for, beside boxes. state: of the files that annotations come from.
    """

    kind: ClassVar[str] = "objects"

    train_objects: list[Objects] = field(kw_only=True)
    test_objects: list[Objects] = field(kw_only=True)
    masked: bool = field(kw_only=True)
    state: str = field(kw_only=True)

    def known(self, truth: Tensor) -> Tensor:
        return truth >= 0

    def check(self) -> None:
        for _, encoder, _ in self.encoders():
            check_flat_maps(encoder)

    @property
    def truth(self) -> str:
        return hashlib.sha256(self.state.encode()).hexdigest()[:16]

    def answer(self, row: str, detections: list[dict[str, Any]]) -> Answer:
        """detections: in all test images, in COCO's form; see `match`."""
        _, test = self.sources()
        shapes = [test.shape(index) for index in range(len(test))]
        truth = coco_form(self.test_objects, shapes, self.names, self.masked)
        kinds = ("box", "mask") if self.masked else ("box",)
        outcome = Boxes({kind: match(truth, detections, kind) for kind in kinds}, len(test))
        return self._answer(row, outcome, 0, {}, {})

    def chance(self) -> Outcome:
        """Nothing is found."""
        return self.answer(CHANCE, []).outcome


def scratch(row: str) -> str:
    """The name of an untrained encoder's row once it is trained with labels alone."""
    return f"scratch{row.removeprefix('random')}" if row.startswith("random") else row


def is_binary(values: pd.Series) -> bool:
    """Whether a column holds 0, 1 and nothing else but empty cells."""
    return bool(np.isin(as_floats(values.dropna()), (0, 1)).all())


def as_floats(values: pd.Series) -> np.ndarray:
    """Numbers, whatever they are stored as; NaN for what is none."""
    return pd.Series(pd.to_numeric(values, errors="coerce")).astype("Float64").to_numpy(np.float64, na_value=np.nan)


def listed_tags(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Tags `(N, T)` of a column of lists, or of words with commas, semicolons or bars; -1 where nobody knows."""
    split = [tags_of(value) for value in values]
    names = sorted({name for some in split for name in some or []})
    if not names:
        raise ValueError("a column of tags is empty: name another with --multilabel.of")
    return np.array([[-1 if some is None else name in some for name in names] for some in split], dtype=np.int64), names


def tags_of(value: Any) -> list[str] | None:
    """The tags in a cell; None for an empty one, of which nobody knows."""
    if np.ndim(value):
        return [str(one) for one in value]
    if pd.isna(value) or not str(value).strip():
        return None
    return [word.strip() for word in re.split("[,;|]", str(value)) if word.strip()]
