"""A table of images: paths, labels and whatever else is known."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

from selfsight.data.csv_table import read_csv
from selfsight.data.files import SUFFIXES, FileSource
from selfsight.data.labels import read_labels
from selfsight.naming import printable

log = logging.getLogger(__name__)

READERS = (".csv", ".tsv", ".parquet")
ADDRESS = re.compile(r"(?!file:)[A-Za-z][\w+.-]+://")
ODD = re.compile(r"^[~\s]|\s$|\\|^file:|//|(^|/)\.(/|$)|/$")  # what a path needs a second look for
LOOKED_AT = 16


class TableSource(FileSource):
    """The images named by a CSV, TSV or Parquet table or by a data frame, a row each.

    Paths are relative to the table's folder, those of a data frame to where the program runs. Every other column is
    metadata; `label` names the one that becomes class codes (`read_labels`), and a column of another name is kept
    beside "label".
    """

    def __init__(
        self,
        table: str | Path | pd.DataFrame,
        *,
        label: str = "label",
        path_column: str = "path",
        channels: int | None = None,
        name: str = "the DataFrame",
    ):
        if isinstance(table, pd.DataFrame):
            rows, table = numbered(table), Path(name)
        else:
            table = Path(table)
            rows = read_table(table, path_column)
        check_columns(rows, table, label, path_column)
        paths = find_paths(pd.Series(rows[path_column]), table)
        own = {name: f"{name}_in_table" for name, used in (("label", label), ("path", path_column)) if name != used}
        for name in own.keys() & set(rows):
            log.info("%s: its own column %r is kept as %r", printable(table), name, own[name])
        metadata = rows.drop(columns=path_column).rename(columns=own).assign(path=pd.Series(paths, dtype=object))
        if "mask" in rows:
            metadata["mask"] = find_masks(pd.Series(rows["mask"]), table)
        classes = None
        if label in rows:
            try:
                labels = read_labels(rows[label])
            except ValueError as error:
                raise ValueError(f"column {label!r} of {table} cannot be read as labels: {error}") from error
            metadata["label"], classes = labels.column, labels.classes
        super().__init__(paths, metadata, name=printable(table), channels=channels, classes=classes)


def read_table(table: Path, path_column: str) -> pd.DataFrame:
    """The rows of a file, numbered from 0, a named index as a column.

    Raises:
        ValueError: for a file that cannot be read, naming it.
    """
    try:
        if table.suffix.lower() != ".parquet":
            return read_csv(table, path_column)
        rows = pd.read_parquet(table)
    except (ValueError, OSError) as error:  # pyarrow's own are of the first kind
        raise ValueError(f"{printable(table)} cannot be read as a table: {error}") from error
    return numbered(rows)


def numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows numbered from 0, a named index as a column."""
    return rows.reset_index(drop=rows.index.name is None)


def check_columns(rows: pd.DataFrame, table: Path, label: str, path_column: str) -> None:
    """Refuse a table that lacks what is asked of it."""
    names = [str(name) for name in rows]
    twice = [name for name in (path_column, label) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{table} has several columns called {twice[0]!r}: rename all but one")
    if path_column not in rows:
        if any(name.lower().endswith(SUFFIXES) for name in names):
            raise ValueError(
                f"{table} has no line of column names, but {', '.join(names)} in its first: write one, such as "
                f"{path_column},{label}"
            )
        raise ValueError(f"{table} has no column {path_column!r} but {', '.join(names)}: name it with path_column=")
    if label == path_column:
        raise ValueError(f"{label!r} is the column of paths: name the column of labels with label=")
    if label not in rows and label != "label":
        raise ValueError(f"{table} has no column {label!r} but {', '.join(names)}: name the labels with label=")
    near = [name for name in names if name.lower() in ("label", "labels", "class", "classes")]
    if label not in rows and near:
        log.warning("%s has no column %r, so no labels: is it %r? Name it with label=", table, label, near[0])
    if rows.empty:
        raise ValueError(f"{table} has no rows: write one for each image")


def find_paths(cells: pd.Series, table: Path) -> list[str]:
    """Where the files are, a path a row.

    Raises:
        ValueError: for an empty cell, an address, or paths that lead from here and not from the table's folder.
    """
    strange = [cell for cell in cells if isinstance(cell, list | tuple | dict | np.ndarray)]
    if strange:
        raise ValueError(
            f"the column of paths of {table} holds {type(strange[0]).__name__}, and no paths: name another"
        )
    texts = [os.fsdecode(cell) if isinstance(cell, bytes) else str(cell) for cell in cells.astype(object).fillna("")]
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
        raise ValueError(f"{table} has no path in row {empty[0]}{more}: fill or drop it")
    folder = str(table.parent)
    plain = "" if folder == "." else folder
    paths = [find_path(text, folder) if ODD.search(text) else os.path.join(plain, text) for text in texts]
    changed = [place for place, text in enumerate(texts) if ODD.search(text) and paths[place] != under(folder, text)]
    if changed:
        first = changed[0]
        log.info(
            "%s: %d paths are not there as they are written and are read otherwise, such as %s as %s",
            printable(table), len(changed), printable(texts[first]), printable(paths[first]),
        )  # fmt: skip
    some = list(zip(texts, paths, strict=True))[:LOOKED_AT]
    here = next((text for text, _ in some if os.path.isfile(text)), None)
    if here is not None and not any(os.path.exists(path) for _, path in some):
        raise ValueError(
            f"paths in {table} are relative to its folder, where {printable(here)!r} does not exist, as it does from "
            "here: move the table, or write paths from its folder or from /"
        )
    return paths


def find_masks(cells: pd.Series, table: Path) -> pd.Series:
    """Where masks are that a column "mask" names, where it holds texts."""
    return cells.map(
        lambda cell: find_path(cell, str(table.parent)) if isinstance(cell, str) and cell.strip() else cell
    )


def find_path(text: str, folder: str) -> str:
    """The file that a cell names: relative to `folder`; ~, file:// and backslashes are understood where
    there is no file of that very name."""
    if ADDRESS.match(text):
        raise ValueError(f"a table names {printable(text)!r}, an address: download the images and write their paths")
    path = under(folder, text)
    if os.path.lexists(path):
        return path
    text = text.strip()
    if text.startswith("file:"):
        text = re.sub("^file:(//(localhost)?)?(?=/)", "", unquote(text, errors="surrogateescape"))
    tries = [text, os.path.expanduser(text), text.replace("\\", "/")]
    return next((found for one in tries if os.path.lexists(found := under(folder, one))), path)


def under(folder: str, text: str) -> str:
    """A path from `folder`, without the dots and slashes that mean nothing."""
    return str(Path(folder) / text)
