"""The contract between a protocol and `evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch

from selfsight.data import Source, subset
from selfsight.data.labels import encode_labels, label_values, missing_classes, read_labels, why_on_a_scale
from selfsight.naming import nearest
from selfsight.probes.store import FeatureStore
from selfsight.protocols._columns import as_floats, is_binary, listed_tags
from selfsight.protocols._dense_tasks import MaskTask, ObjectTask
from selfsight.protocols._tasks import Answer, ClassTask, IdentityTask, NumberTask, TagTask, Task

__all__ = [
    "Answer",
    "ClassTask",
    "IdentityTask",
    "MaskTask",
    "NumberTask",
    "ObjectTask",
    "Protocol",
    "TagTask",
    "Task",
    "Trial",
]


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
        """The class of each pixel: see `mask_classes`; `ValueError` for masks that say nothing."""
        return MaskTask.of(self, column, classes, ignore)

    def objects(self, annotations: Sequence[str] = (), masks: bool = True) -> ObjectTask:
        """What is where in each image, of annotations in COCO's form; `ValueError` where there are none."""
        return ObjectTask.of(self, annotations, masks)

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
