"""A table of images: paths, labels and whatever else is known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from selfsight.data.files import FileSource
from selfsight.data.folder import SPLITS
from selfsight.data.sources import Source, Subset, encode_labels

READERS = {".csv": pd.read_csv, ".tsv": lambda path: pd.read_csv(path, sep="\t"), ".parquet": pd.read_parquet}


class TableSource(FileSource):
    """The images named by a CSV, TSV or Parquet table, a row each.

    Paths are relative to the table's folder. Every other column is metadata; `label` names the
    one that becomes class codes, and a column of another name is kept beside "label".
    """

    def __init__(
        self, table: str | Path, *, label: str = "label", path_column: str = "path", channels: int | None = None
    ):
        table = Path(table)
        try:
            rows = READERS[table.suffix.lower()](table)
        except ValueError as error:  # pandas' and pyarrow's own are of this kind
            raise ValueError(f"{table} cannot be read as a table: {error}") from error
        if path_column not in rows:
            raise ValueError(
                f"{table} has no column {path_column!r} but {', '.join(map(str, rows))}: name it with path_column="
            )
        if label != "label" and label not in rows:
            raise ValueError(
                f"{table} has no column {label!r} but {', '.join(map(str, rows))}: name the labels with label="
            )
        if rows.empty:
            raise ValueError(f"{table} has no rows: write one for each image")
        if rows[path_column].isna().any():
            raise ValueError(f"{table} has no path in row {int(rows[path_column].isna().argmax())}: fill or drop it")
        paths = [str(table.parent / str(path)) for path in rows[path_column]]
        metadata = rows.drop(columns=path_column).assign(path=paths)
        classes = None
        if label in rows:
            metadata["label"], classes = encode_labels(rows[label])
        super().__init__(paths, metadata, name=str(table), channels=channels, classes=classes)


def by_split_column(source: Source) -> dict[str, Source]:
    """The parts that a "split" column names, or "all" of the source where it names no training rows."""
    if "split" not in source.metadata:
        return {"all": source}
    names = source.metadata["split"].astype(str).str.strip().str.lower().map(lambda name: SPLITS.get(name, name))
    if "train" not in set(names):
        return {"all": source}
    wanted = [split for split in ("train", "val", "test") if (names == split).any()]
    return {
        split: Subset(source, (names == split).to_numpy().nonzero()[0], f"{source.name} ({split})") for split in wanted
    }
