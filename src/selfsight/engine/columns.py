"""The columns of metadata that a run reads: found unfit before it starts, or made fit."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import pandas as pd

from selfsight.data import Source
from selfsight.data.labels import class_numbers, encode_values, look_measured, missing_classes, number_of
from selfsight.engine.images import Images
from selfsight.methods.base import Method
from selfsight.naming import listed, nearest

log = logging.getLogger(__name__)

LABELS = "put each class in a folder of its own, or name the column of a table with label="


def check_columns(images: Images, method: Method, debias: str | None = None) -> Images:
    """The images, with groups as codes in the column `debias`, once all that is read of them is fit to be.

    Raises:
        ValueError: for a column that is missing, empty, the same everywhere or of the wrong kind, naming the fix.
    """
    source, name = images.train, type(method).__name__
    wants = method.wants
    if wants.label:
        check_label(source, f"{name} learns from labels")
    for column in wants.columns:
        if column == "label":
            check_label_numbers(source, name)
        else:
            check_numbers(source, column, name)
    if debias is not None:
        if debias == "label" or debias in wants.columns:
            raise ValueError(f"{debias!r} cannot be learned and be kept out: name another column with debias=")
        check_label(source, "debias compares images within and between classes")
    if source.labels is not None and (wants.label or "label" in wants.columns or debias is not None):
        report_missing("label", int((source.labels < 0).sum()), len(source))
    return images if debias is None else replace(images, train=with_groups(source, debias))


def check_label(source: Source, reader: str) -> None:
    """Refuse to learn from classes where there are none, or one."""
    check_labelled(source, reader)
    known = known_labels(source)
    if len(np.unique(known)) == len(known):
        log.warning("no two images of %s share a label, so that each is a class of its own: %s", source.name, LABELS)


def check_labelled(source: Source, reader: str) -> None:
    """Refuse labels that are missing, no classes, or the same wherever they are known."""
    if "label" not in source.metadata:
        raise ValueError(f"{reader} and {source.name} has none: {LABELS}")
    why = missing_classes(source)
    if why is not None:
        raise ValueError(f"{reader}: {why}")
    known = known_labels(source)
    if (known == known[0]).all():
        only = source.classes[known[0]] if source.classes else known[0]
        raise ValueError(f"{reader} and {source.name} has a single one, {str(only)!r}: {LABELS}")


def known_labels(source: Source) -> np.ndarray:
    """Codes of the labelled images."""
    labels = source.labels
    assert labels is not None
    return labels[labels >= 0]


def check_label_numbers(source: Source, name: str) -> None:
    """Refuse labels that are names or codes where numbers are wanted."""
    if "label" in source.metadata and source.labels is None:
        check_numbers(source, "label", name)
        return
    check_labelled(source, f"{name} learns from column 'label'")
    reader = f"{name} learns from numbers"
    fix = "name a column of numbers with the method's columns="
    words = [word for word in source.classes or [] if number_of(word) is None]
    if words:
        raise ValueError(f"{reader}, and the labels of {source.name} are names such as {words[0]!r}: {fix}")
    if source.classes is not None and class_numbers(source.classes) is None:
        raise ValueError(
            f"{reader}, and the classes of {source.name}, {listed(source.classes, 3)}, are not all different whole "
            f"numbers of 0 or more, since -1 stands for no label: {fix}"
        )


def check_numbers(source: Source, column: str, name: str) -> None:
    """Refuse a column from which a method cannot learn as numbers."""
    fix = "name another with the method's columns="
    values = find_column(source, column, f"{name} learns from the numbers in", fix)
    numbers = pd.Series(pd.to_numeric(values.astype(object), errors="coerce"), index=values.index)
    wrong = values.notna() & numbers.isna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ValueError(
            f"{name} learns from numbers, and column {column!r} of {source.name} holds {values.iloc[row]!r} "
            f"({source.describe(row)}): write a number or leave it empty, or {fix}"
        )
    if not (pd.api.types.is_numeric_dtype(values) or values.isna().all()):
        raise ValueError(
            f"column {column!r} of {source.name} holds {values.dropna().iloc[0]!r} and the like, numbers as "
            f"{values.dtype}: turn them into numbers with pandas.to_numeric, or {fix}"
        )
    found = numbers.dropna().to_numpy(np.float64)
    if np.isinf(found).any():
        row = int(np.isinf(numbers.to_numpy(np.float64, na_value=np.nan)).argmax())
        raise ValueError(
            f"column {column!r} of {source.name} is infinite for {source.describe(row)}: correct it or leave it empty"
        )
    check_filled(source, column, found, fix)
    report_missing(column, len(values) - len(found), len(values))


def with_groups(source: Source, column: str) -> Source:
    """The source with a code for each value in a column of names or whole numbers, -1 where missing."""
    fix = "name another with debias="
    values = find_column(source, column, "debias keeps out", fix)
    numbers = values.dropna().to_numpy(np.float64) if pd.api.types.is_float_dtype(values) else np.zeros(0)
    between = numbers[numbers != np.round(numbers)]
    if len(between):
        raise ValueError(
            f"debias keeps groups apart, and column {column!r} of {source.name} holds {between[0]:g}, on a scale: "
            f"bin it (pandas.cut makes a column of bins), or {fix}"
        )
    codes, groups = encode_values(values)
    check_filled(source, column, np.array(groups), fix)
    if len(groups) > len(values) / 2:
        raise ValueError(
            f"debias wants images that share a group, and column {column!r} of {source.name} has {len(groups)} values "
            f"for {len(values)} images: bin it (pandas.cut makes a column of bins), or {fix}"
        )
    check_crossed(source, column, codes, fix)
    report_missing(column, int((codes < 0).sum()), len(codes))
    log.info("kept out of the embeddings: %s, %d groups", column, len(groups))
    whole = class_numbers(groups)
    if whole is not None and look_measured(whole):
        log.warning(
            "%d different whole numbers of column %r are taken for groups: if they measure something, bin them "
            "(pandas.cut makes a column of bins)",
            len(groups), column,
        )  # fmt: skip
    coded = copy.copy(source)  # what the user handed in stays as it is
    coded.metadata = source.metadata.assign(**{column: codes})
    return coded


def check_crossed(source: Source, column: str, codes: np.ndarray, fix: str) -> None:
    """Refuse groups that are the classes by another name: no pair of images would tell one from the other."""
    labels = source.labels
    assert labels is not None, "check_label precedes"
    pairs = np.stack([labels, codes], 1)[(labels >= 0) & (codes >= 0)]
    if len(pairs) == 0:
        raise ValueError(f"no image of {source.name} has both a label and a value in column {column!r}: {fix}")
    both, each = len(np.unique(pairs, axis=0)), [len(np.unique(side)) for side in pairs.T]
    if each == [both, both]:
        raise ValueError(
            f"debias wants groups that share classes, and each group of column {column!r} of {source.name} is a class "
            f"of its own: what tells groups apart tells classes apart, so {fix}"
        )


def find_column(source: Source, column: str, reader: str, fix: str) -> pd.Series:
    """A column, or a `ValueError` that names the nearest one."""
    if column not in source.metadata:
        names = [str(name) for name in source.metadata if name != "path"]
        raise ValueError(f"{reader} column {column!r} and {source.name} has none{nearest(column, names)}; {fix}")
    return pd.Series(source.metadata[column])


def check_filled(source: Source, column: str, found: np.ndarray, fix: str) -> None:
    """Refuse a column without values, or with the same one everywhere."""
    if len(found) == 0:
        raise ValueError(f"column {column!r} of {source.name} is empty for all {len(source)} images: {fix}")
    if (found == found[0]).all():
        raise ValueError(f"column {column!r} of {source.name} is {found[0]} wherever it is known: {fix}")


def report_missing(column: str, missing: int, count: int) -> None:
    """Say how many images a term does not see."""
    if missing:
        log.info("%d of %d training images have no %s: what is learned from it leaves them out", missing, count, column)
