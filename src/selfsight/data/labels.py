"""What is a number, a class and no label: one rule for tables, arrays, folders and datasets."""

from __future__ import annotations

import copy
import decimal
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from selfsight.data.sources import Source

NO_LABEL = -1
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXACT = 2**53  # whole numbers beyond it are names: float64 would make one of two
MANY = 20


@dataclass(frozen=True)
class Labels:
    """The labels of some images.

    column: `(N,)` int64 codes of `classes`, -1 where there is no label; or, where labels are on a
        scale and no classes, float64 numbers, NaN where there is none.
    classes: names of the codes, or None for numbers on a scale.
    """

    column: np.ndarray
    classes: list[str] | None


def read_labels(values: Any) -> Labels:
    """The labels in a column of any type `(N,)`.

    No label is an empty cell, None, NaN, and -1 as a number or text. Whole numbers are classes unless
    more than half of the labelled rows (with 20 values or more) have one of their own; other numbers are
    on a scale. Classes that `look_measured` are said where a source is opened.
    """
    values = as_column(values)
    known = labelled(values)
    numbers = as_numbers(values[known])
    if numbers is not None and why_on_a_scale(numbers) is not None:
        column = np.full(len(values), np.nan)
        column[known] = numbers
        return Labels(column, None)
    return Labels(*encode_labels(values))


def why_on_a_scale(numbers: np.ndarray) -> str | None:
    """Why numbers are no classes, or None where they may be."""
    between = numbers[numbers != np.round(numbers)]
    if len(between):
        return f"numbers on a scale, such as {between[0]:g}"
    unique, counts = np.unique(numbers, return_counts=True)
    if len(unique) >= MANY and 2 * (counts == 1).sum() > len(numbers):
        return f"numbers that differ from image to image ({len(unique):,} values for {len(numbers):,} images)"
    return None


def look_measured(numbers: np.ndarray) -> bool:
    """Whether distinct whole numbers look like what is measured or counted, such as ages, rather than like codes:
    many, and neither 0, 1, 2 and so on nor 1, 2, 3 and so on, all of them."""
    first, last = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    return len(numbers) >= MANY and not (first in (0, 1) and last - first + 1 == len(numbers))


def encode_labels(values: Any) -> tuple[np.ndarray, list[str]]:
    """Codes `(N,)` int64 of classes and their names, as numbers where all are, else by name; -1 where there is no
    label (`read_labels`)."""
    values = as_column(values)
    return encode_known(values, labelled(values))


def encode_values(values: Any) -> tuple[np.ndarray, list[str]]:
    """Codes `(N,)` int64 of distinct values and their names, sorted alike; -1 where one is missing."""
    values = as_column(values)
    return encode_known(values, values.notna().to_numpy())


def encode_known(values: pd.Series, known: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes and names of the rows that are `known`; -1 for the others."""
    present = pd.Series(values[known])
    numbers = as_numbers(present)
    positions, found = distinct(present) if numbers is None else pd.factorize(numbers)
    if numbers is None:
        names = [as_text(value) for value in found]
    else:
        names = [str(int(number)) if number == np.round(number) else str(number) for number in found]
    order = sorted_names(names)
    rank = {name: number for number, name in enumerate(order)}
    codes = np.full(len(values), NO_LABEL, dtype=np.int64)
    codes[known] = np.array([rank[name] for name in names], dtype=np.int64)[positions]
    return codes, order


def distinct(values: pd.Series) -> tuple[np.ndarray, list[Any]]:
    """The position `(N,)` of each value among the distinct ones, -1 where missing; and those.

    Raises:
        ValueError: for several values in one.
    """
    try:
        positions, found = pd.factorize(values)
        if any(isinstance(value, tuple) for value in found):
            raise TypeError("a tuple")
    except TypeError as error:  # nor is a list a key of a dictionary
        several = next(value for value in values if isinstance(value, list | tuple | dict | set | np.ndarray))
        raise ValueError(f"{several!r} is more than one: give each image one label, or a column for each") from error
    return positions, list(found)


def as_column(values: Any) -> pd.Series:
    """Values `(N,)` as a pandas column with positions for an index; categories as what they stand for."""
    column = pd.Series(values) if isinstance(values, pd.Series) else pd.Series(np.asarray(values).ravel())
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.isna().any() else object)
    return column.reset_index(drop=True)


def labelled(values: pd.Series) -> np.ndarray:
    """Which rows `(N,)` hold a label, and neither nothing nor -1."""
    if pd.api.types.is_numeric_dtype(values):
        return values.notna().to_numpy() & (values != NO_LABEL).fillna(False).to_numpy(bool)
    positions, found = distinct(values)
    return np.array([*(not is_no_label(value) for value in found), False])[positions]


def is_no_label(value: Any) -> bool:
    """Whether a value of a column of any kind stands for no label."""
    if isinstance(value, str | bytes):
        return as_text(value) in ("", str(NO_LABEL))
    return isinstance(value, Real | decimal.Decimal) and value == NO_LABEL


def as_text(value: Any) -> str:
    """A value as the name of a class."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text.strip()


def as_numbers(values: pd.Series) -> np.ndarray | None:
    """Known values `(N,)` as float64, or None where they are no numbers, or whole and too long to stay apart.

    Raises:
        ValueError: for infinite ones.
    """
    if len(values) == 0 or pd.api.types.is_bool_dtype(values):
        return None
    if not pd.api.types.is_numeric_dtype(values) and not all(map(is_number, values)):
        return None
    numbers = values.to_numpy(np.float64)
    if np.isinf(numbers).any():
        raise ValueError("a value is infinite: correct it or leave it empty")
    long = not pd.api.types.is_float_dtype(values) and (np.abs(numbers) > EXACT).any()
    return None if long and (numbers == np.round(numbers)).all() else numbers


def is_number(value: Any) -> bool:
    """Whether a value is a number, and no truth."""
    return isinstance(value, Real | decimal.Decimal) and not isinstance(value, bool | np.bool_)


def number_of(name: str) -> float | None:
    """The number that a text is, or None."""
    number = float(name) if NUMBER.fullmatch(name) else np.nan
    return number if np.isfinite(number) else None


def sorted_names(names: Iterable[str]) -> list[str]:
    """Distinct names in the order of their numbers where all are numbers, else in that of the text."""
    distinct = set(names)
    numbers = {name: number_of(name) for name in distinct}
    if any(number is None for number in numbers.values()):
        return sorted(distinct)
    return sorted(distinct, key=lambda name: (numbers[name], name))


def class_numbers(classes: list[str] | None) -> np.ndarray | None:
    """The numbers `(C,)` int64 that classes are called by; None unless all are whole, 0 or more, and distinct."""
    numbers = [number_of(name) for name in classes or []]
    if not numbers or any(number is None or number < 0 or number != round(number) for number in numbers):
        return None
    whole = [int(name) if name.isdecimal() else int(float(name)) for name in classes or []]
    fits = len(set(whole)) == len(whole) and max(whole) <= np.iinfo(np.int64).max
    return np.array(whole, dtype=np.int64) if fits else None


def numeric_metadata(source: Source) -> dict[str, Tensor]:
    """Numeric columns, each `(N,)`: whole numbers as int64, others as float32 with NaN where missing.

    Of "label" the numbers that the classes are called by, where all are whole and 0 or more, else their
    codes; -1 where there is none.
    """
    columns = {}
    for name in source.metadata.select_dtypes(["number", "bool"]):
        column = source.metadata[name]
        whole = pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column)
        if whole and not column.hasnans:
            columns[str(name)] = torch.from_numpy(column.to_numpy(np.int64, copy=True))
        else:
            columns[str(name)] = torch.from_numpy(column.to_numpy(np.float32, na_value=np.nan, copy=True))
    numbers, labels = class_numbers(source.classes), source.labels
    if numbers is not None and labels is not None:
        columns["label"] = torch.from_numpy(np.append(numbers, NO_LABEL)[labels])
    return columns


def label_values(source: Source) -> pd.Series | None:
    """The labels as they were written: names of classes, or numbers; missing where there is none. None without any."""
    if "label" not in source.metadata:
        return None
    labels, column = source.labels, pd.Series(source.metadata["label"])
    if labels is None or source.classes is None:
        return column if labels is None else column.where(labels >= 0)
    return pd.Series(np.array([*source.classes, None], dtype=object)[labels], dtype=object)


def with_labels(source: Source, labels: Labels) -> Source:
    """A source with other labels; what the user handed in stays as it is."""
    changed = copy.copy(source)
    changed.metadata = source.metadata.assign(label=labels.column)
    changed.classes = labels.classes
    return changed


def missing_classes(source: Source) -> str | None:
    """Why a source has no class to learn, with the fix; None where it has one."""
    if "label" not in source.metadata:
        return f"{source.name} has no labels: use class sub-folders, or name the column with label="
    labels = source.labels
    if labels is None:
        numbers = source.metadata["label"].dropna().to_numpy(np.float64)
        return (
            f"the labels of {source.name} are {why_on_a_scale(numbers) or 'numbers on a scale'}, and no classes: make "
            "a column of classes (pandas.cut bins numbers) and name it with label="
        )
    if (labels < 0).all():
        return (
            f"{source.name} has no labels: none of the {len(labels):,} images has one (an empty cell and {NO_LABEL} "
            "stand for none); use class sub-folders, or name the column with label="
        )
    return None
