"""One list of classes for all parts of a data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd

from selfsight.data.labels import (
    NO_LABEL,
    Labels,
    class_numbers,
    encode_labels,
    label_values,
    number_of,
    read_labels,
    sorted_names,
    with_labels,
)
from selfsight.data.sources import Source
from selfsight.naming import listed

log = logging.getLogger(__name__)


def share_classes(parts: Mapping[str, Source]) -> dict[str, Source]:
    """The parts of one data set with one list of classes.

    The list of a part that holds all names, else all of them in their order. Codes without names are the numbers
    they are, or positions in the one list that others have.
    """
    parts = {name: as_read(part) for name, part in parts.items()}
    known = {name: part for name, part in parts.items() if "label" in part.metadata}
    if any(part.labels is None for part in known.values()):
        return parts | judged_together(known)
    lists = {tuple(part.classes) for part in known.values() if part.classes is not None}
    if not lists or (len(lists) == 1 and all(part.classes is not None for part in known.values())):
        return parts
    known = {name: part if part.classes is not None else named(name, part, lists) for name, part in known.items()}
    classes = one_list([part.classes or [] for part in known.values()])
    code = {name: number for number, name in enumerate(classes)}
    for name, part in known.items():
        recoded = np.array([code[each] for each in part.classes or []] + [NO_LABEL], dtype=np.int64)
        known[name] = with_labels(part, Labels(recoded[part.metadata["label"].to_numpy(np.int64)], classes))
    return parts | known


def as_read(source: Source) -> Source:
    """The source, with labels read where a user's own column of another type than codes stands for them."""
    if "label" not in source.metadata or source.labels is not None:
        return source
    return with_labels(source, read_labels(source.metadata["label"]))


def judged_together(parts: dict[str, Source]) -> dict[str, Source]:
    """Parts of which some have numbers on a scale: all of them together are classes, or none is."""
    columns = {}
    for name, part in parts.items():
        values = label_values(part)
        assert values is not None
        numbers = [None if pd.isna(value) else number_of(str(value)) for value in values]
        words = [value for value, number in zip(values, numbers, strict=True) if number is None and pd.notna(value)]
        if words:
            scale = next(name for name, part in parts.items() if part.labels is None)
            raise ValueError(
                f"the labels of the part {name!r} are names such as {words[0]!r}, and those of {scale!r} are numbers: "
                "name one column of classes with label="
            )
        columns[name] = np.array(numbers, dtype=np.float64)
    together = read_labels(np.concatenate(list(columns.values())))
    ends = np.cumsum([len(column) for column in columns.values()])[:-1]
    pieces = zip(parts.items(), np.split(together.column, ends), strict=True)
    return {name: with_labels(part, Labels(piece, together.classes)) for (name, part), piece in pieces}


def named(name: str, source: Source, lists: set[tuple[str, ...]]) -> Source:
    """A source whose labels have no names, with those that the other parts have."""
    labels = source.labels
    assert labels is not None
    found = np.unique(labels[labels >= 0])
    numbers = [class_numbers(list(one)) for one in lists]
    if all(one is not None and np.isin(found, one).all() for one in numbers):
        column, classes = encode_labels(labels)
        return with_labels(source, Labels(column, classes))
    (first, *others) = lists
    if others or all(one is not None for one in numbers) or found.max(initial=-1) >= len(first):
        raise ValueError(
            f"the labels of the part {name!r} are numbers such as {found[-1]}, and those of the others are "
            f"{listed([repr(one) for one in first], 3)}: give all parts names, or all the same numbers"
        )
    log.warning("labels of the part %r are taken for positions in the classes of the others, 0 for %s", name, first[0])
    return with_labels(source, Labels(labels, list(first)))


def one_list(lists: list[list[str]]) -> list[str]:
    """One list of classes for all parts."""
    names = set().union(*lists)
    whole = next((one for one in lists if len(one) == len(names) and set(one) == names), None)
    return list(whole) if whole is not None else sorted_names(names)


def unseen_classes(train: Source, test: Source) -> str | None:
    """A sentence that names the classes of which only the test part has images, or None."""
    if train.labels is None or test.labels is None:
        return None
    codes, counts = np.unique(test.labels[test.labels >= 0], return_counts=True)
    strange = ~np.isin(codes, train.labels)
    if not strange.any():
        return None
    named = [
        f"{test.classes[code] if test.classes else code} ({count:,} images)"
        for code, count in zip(codes[strange], counts[strange], strict=True)
    ]
    return f"classes only in the test part: {listed(named)}; they count as wrong"
