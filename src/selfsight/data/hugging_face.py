"""Data sets of Hugging Face's `datasets`, whatever their columns are called."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from selfsight.data.datasets import DatasetSource, label_columns
from selfsight.data.items import IMAGE_KEYS, find_key, label_key
from selfsight.data.sources import Source, Stored
from selfsight.data.table import TableSource
from selfsight.naming import nearest


def is_hugging_face(data: Any) -> bool:
    """Whether this is a map-style `datasets.Dataset`; the package is not imported."""
    return type(data).__module__.split(".")[0] == "datasets" and hasattr(data, "features") and hasattr(data, "__len__")


def hugging_face_source(
    data: Any, *, label: str = "label", path_column: str = "path", channels: int | None = None
) -> Source:
    """A `datasets.Dataset` as a source.

    The image column is `path_column` where there is one of that name, else the only one of images. The label column
    is `label`, else the only one of classes or one that is called like a label. Columns of numbers and words are
    metadata. A format or transform that was set is not applied.

    Raises:
        ValueError: where several columns may be meant, or none, naming the option that tells.
    """
    name = f"the {type(data).__module__.split('.')[0]} {type(data).__name__}"
    if len(data) == 0:
        raise ValueError(f"{name} is empty")
    rows = data.with_format(None)
    if is_table(rows, path_column):
        return TableSource(rows.to_pandas(), label=label, path_column=path_column, channels=channels, name=name)
    image = image_column(rows, path_column, name)
    chosen = label_column(rows, label, image, name)
    columns, classes = {}, None
    if chosen is not None:
        names = getattr(rows.features[chosen], "names", None)
        columns, classes = label_columns(list(rows[chosen]), name, names)
    for other, feature in rows.features.items():
        kind = getattr(feature, "dtype", "")
        if other not in (image, chosen, "label") and isinstance(kind, str) and kind not in ("", "dict", "list"):
            own = f"{other}_in_data" if other == "path" else other
            if not kind.startswith(("PIL", "binary", "large_binary")):
                columns[own] = np.asarray(list(rows[other]), dtype=object)
    metadata = pd.DataFrame({key: pd.Series(value).infer_objects() for key, value in columns.items()})
    metadata = metadata.reindex(pd.RangeIndex(len(rows)))
    return DatasetSource(Rows(rows, image), name=name, channels=channels, metadata=metadata, classes=classes)


def is_table(rows: Any, path_column: str) -> bool:
    """Whether the data name files in a column of paths, and hold no images."""
    kinds = {column: getattr(feature, "dtype", "") for column, feature in rows.features.items()}
    images = any(type(feature).__name__ == "Image" for feature in rows.features.values())
    return kinds.get(path_column) == "string" and not (images and path_column == "path")


class Rows:
    """The images of a column, one by one."""

    def __init__(self, rows: Any, column: str):
        self.column = column
        self.rows = rows.select_columns([column])
        feature = rows.features[column]
        self.encoded = type(feature).__name__ == "Image"
        if self.encoded:
            self.rows = self.rows.cast_column(column, type(feature)(decode=False))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        value = self.rows[index][self.column]
        if not self.encoded or value is None:
            return value
        return Image.open(BytesIO(value["bytes"]) if value["bytes"] is not None else value["path"])

    def stored_as(self, index: int) -> Stored | None:
        """The bytes or the file of an image, None where it is only known as values."""
        value = self.rows[index][self.column] if self.encoded else None
        if value is None or value["bytes"] is value["path"] is None:
            return None
        return value["bytes"] if value["bytes"] is not None else os.fspath(value["path"])


def image_column(rows: Any, wanted: str, name: str) -> str:
    """The column that holds the images."""
    columns = list(rows.features)
    if wanted != "path" and wanted not in columns:
        raise ValueError(f"{name} has no column {wanted!r}{nearest(wanted, columns)}")
    if wanted != "path":
        return wanted
    images = [column for column, feature in rows.features.items() if type(feature).__name__ == "Image"]
    arrays = [column for column, feature in rows.features.items() if holds_arrays(feature)]
    found = images or arrays
    if not found:
        called = find_key(columns, IMAGE_KEYS)
        found = [] if called is None else [called]
    if len(found) > 1:
        called = find_key(found, IMAGE_KEYS[:2])
        if called is None:
            raise ValueError(f"{name} has several columns of images, {', '.join(found)}: name one with path_column=")
        found = [called]
    if not found:
        raise ValueError(
            f"{name} has no column of images but {', '.join(columns)}: cast one with cast_column(NAME, "
            "datasets.Image()), or name one of arrays with path_column="
        )
    return found[0]


def holds_arrays(feature: Any) -> bool:
    """Whether the values of a column are arrays of two axes or more."""
    axes = 0
    while hasattr(feature, "feature"):  # lists of lists
        feature, axes = feature.feature, axes + 1
    return axes >= 2 or type(feature).__name__ in ("Array2D", "Array3D", "Array4D")


def label_column(rows: Any, wanted: str, image: str, name: str) -> str | None:
    """The column that holds the labels, None where there is none."""
    columns = [column for column in rows.features if column != image]
    if wanted in columns:
        return wanted
    if wanted != "label":
        raise ValueError(f"{name} has no column {wanted!r}{nearest(wanted, columns)}")
    classes = [column for column, feature in rows.features.items() if type(feature).__name__ == "ClassLabel"]
    if len(classes) > 1:
        raise ValueError(f"{name} has several columns of classes, {', '.join(classes)}: name one with label=")
    return classes[0] if classes else label_key(columns)
