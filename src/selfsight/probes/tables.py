"""What is known of each image beside its features, as columns of a file.

Columns are made before features are computed, so that nothing fails at the end. None is pickled, and none is lost:
a column of the data's own that has the name of one of ours gets another.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfsight.data import Source
from selfsight.data.labels import label_values
from selfsight.naming import listed, printable

log = logging.getLogger(__name__)

FEATURES = "features"
UNFIT = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeError, ValueError, TypeError)

Columns = dict[str, Any]


def known_of(parts: Mapping[str, Source], *, several: bool, form: str) -> Columns:
    """A column each, over the images of all parts one after the other; arrays for .npz, Arrow's for .parquet.

    several: whether the data has several parts, so that each row names its own.
    """
    tables = []
    for name, source in parts.items():
        own = {"index": np.arange(len(source)), **({"split": np.full(len(source), name)} if several else {})}
        names = label_values(source)
        if source.classes and names is not None:
            own["class"] = names.to_numpy()
        tables.append(beside(source.metadata.reset_index(drop=True), own))
    known = pd.concat(tables, ignore_index=True)
    if form == ".npz":  # NumPy reads an array x.npy of an archive as x
        clash = [name for name in known if name.endswith(".npy")]
        new = {name: free_name(name, {*known, FEATURES}) for name in clash}
        if new:
            said = said_of_names(clash, list(new.values()), known.loc[:, clash])
            log.warning("columns named as NumPy names its own: %s", said)
        known = known.rename(columns=new)
    convert: Callable[[str, pd.Series], Any] = as_arrow if form == ".parquet" else as_array
    return {str(name): convert(str(name), column) for name, column in known.items()}


def beside(metadata: pd.DataFrame, own: dict[str, np.ndarray]) -> pd.DataFrame:
    """Our columns and all of the data's, under names that differ."""
    table = metadata.copy(deep=False)
    renamed, kept, taken = [], [], {*own, FEATURES}
    for place, name in enumerate(map(plain_name, metadata.columns)):
        column = metadata.iloc[:, place]
        if name in own and says_the_same(column, own[name]):
            del own[name]
        elif name in taken:
            renamed.append(name)
            name = free_name(name, taken | {plain_name(other) for other in metadata.columns})
        taken.add(name)
        kept.append(name)
    if renamed:
        log.warning(
            "columns of the data whose names are ours or occur twice: %s", said_of_names(renamed, kept, metadata)
        )
    table.columns = pd.Index(kept)
    for place, name in enumerate(name for name in ("index", "split") if name in own):
        table.insert(place, name, own[name])
    if "class" in own:
        table.insert(int(table.columns.get_indexer(["label"])[0]) + 1, "class", own["class"])
    return table


def said_of_names(renamed: list[str], kept: list[str], metadata: pd.DataFrame) -> str:
    """Old and new names of the columns that got another."""
    pairs = [(plain_name(old), new) for old, new in zip(metadata.columns, kept, strict=True)]
    return listed([f"{printable(old)!r} is kept as {printable(new)!r}" for old, new in pairs if old != new])


def plain_name(name: Any) -> str:
    """The name of a column as a file can hold it."""
    return printable(name).replace("\0", "\\x00")


def free_name(name: str, taken: set[str]) -> str:
    """A name like this one that nobody has."""
    name = f"{name}_in_table"
    while name in taken:
        name += "_"
    return name


def says_the_same(column: pd.Series, own: np.ndarray) -> bool:
    """Whether a column of the data holds what ours would, where ours holds anything."""
    known = pd.Series(own).notna().to_numpy()
    return bool((column.astype(str).to_numpy()[known] == own.astype(str)[known]).all())


def as_array(name: str, column: pd.Series) -> np.ndarray:
    """A column as an array that needs no pickle: numbers and times as they are, else text, empty where missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype if not column.isna().any() else object)
    if pd.api.types.is_bool_dtype(column) and not column.hasnans:
        return column.to_numpy(bool)
    if pd.api.types.is_numeric_dtype(column):
        if isinstance(column.dtype, np.dtype):
            return column.to_numpy()
        if pd.api.types.is_integer_dtype(column) and not column.hasnans:
            return column.to_numpy(np.uint64 if pd.api.types.is_unsigned_integer_dtype(column) else np.int64)
        return column.to_numpy(np.float64, na_value=np.nan)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "mM":
        return column.to_numpy()
    return as_text(column).fillna("").to_numpy(str)


def as_arrow(name: str, column: pd.Series) -> pa.Array:
    """A column as Arrow holds it, or as text where it holds values that no column of a table can."""
    try:
        array = pa.Array.from_pandas(column)
        if isinstance(array.type, pa.ExtensionType):
            raise TypeError(f"{array.type} is of pandas alone")
        return array
    except UNFIT:
        log.warning("column %s holds values that a .parquet file cannot: it is written as text", printable(name))
        return pa.array([None if pd.isna(value) else printable(value) for value in as_text(column)], pa.string())


def as_text(column: pd.Series) -> pd.Series:
    """Values as text, None where one is missing."""

    def text(value: Any) -> str | None:
        missing = pd.isna(value) if np.ndim(value) == 0 else False
        return None if missing else value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)

    return pd.Series([text(value) for value in column], dtype=object)


def write_npz(stream: IO[bytes], features: np.ndarray, known: Columns, rows: np.ndarray) -> None:
    """An array for each column, as `numpy.savez` writes them, whatever the columns are called."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in {FEATURES: features, **{name: column[rows] for name, column in known.items()}}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(column), allow_pickle=False)


def write_parquet(stream: IO[bytes], features: np.ndarray, known: Columns, rows: np.ndarray) -> None:
    """A table whose last column holds fixed-size lists, nested for patch features."""
    column = pa.array(features.reshape(-1))
    for length in reversed(features.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, length)
    columns = {name: column.take(pa.array(rows)) for name, column in known.items()}
    pq.write_table(pa.table({**columns, FEATURES: column}), stream)
