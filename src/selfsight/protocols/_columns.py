"""Numbers and tags in the columns of a table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd


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
