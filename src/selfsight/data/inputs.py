"""Python objects as data: arrays, lists, tables and data sets of other libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from selfsight.data.arrays import ArraySource
from selfsight.data.datasets import DatasetSource, label_columns
from selfsight.data.hugging_face import hugging_face_source, is_hugging_face
from selfsight.data.items import IMAGE_KEYS, find_key, is_image, is_nested, label_key
from selfsight.data.parts import by_split_column
from selfsight.data.sources import Source
from selfsight.data.table import TableSource

EXPECTED = (
    "give a folder, a table, an array (N, ...), (images, labels), a list of images or of paths, a DataFrame, or a "
    "data set with a length"
)
ORDER_FIX = "it can only be read from its beginning; give a list of its images, or a data set with a length"
FEW = 4


def read_object(
    data: Any, *, label: str = "label", path_column: str = "path", channels: int | None = None
) -> dict[str, Source]:
    """The parts of a Python object that is no path and no dictionary of parts, or {"all": everything}.

    Arrays and tensors `(N, ...)`; `(images, labels)`, and pairs of them for training and test; lists of paths, of
    images, of `(image or path, label)` and of dictionaries; data frames with a column of paths, relative to
    where the program runs; Hugging Face's, torchvision's and any other data set with a length.

    Raises:
        ValueError: for whatever cannot be read, in one line that names what would do.
    """
    refuse(data)
    if is_hugging_face(data):
        return {"all": hugging_face_source(data, label=label, path_column=path_column, channels=channels)}
    if isinstance(data, pd.Series | pd.Index):
        data = data.tolist()
    frame = as_frame(data)
    if frame is not None:
        return by_split_column(TableSource(frame, label=label, path_column=path_column, channels=channels))
    if isinstance(data, list | tuple):
        return read_list(data, label, path_column, channels)
    if isinstance(data, np.ndarray) and data.dtype == object:
        return read_list(list(data), label, path_column, channels)
    if isinstance(data, np.ndarray) and data.dtype.kind in "US":
        return read_list([os.fsdecode(one) for one in data.ravel()], label, path_column, channels)
    if is_array(data):
        refuse_label(label, "an array")
        return {"all": array_source(data, None, channels)}
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return {"all": DatasetSource(data, channels=channels, label=label)}
    raise ValueError(f"cannot read images from {type(data).__name__}: {EXPECTED}")


def refuse(data: Any) -> None:
    """Raise `ValueError` for what can only be read once or in one order, for an image alone, and for nothing."""
    name = type(data).__name__
    if data is None:
        raise ValueError(f"there is no data: {EXPECTED}")
    if isinstance(data, DataLoader):
        raise ValueError("a DataLoader makes batches of its own: give its data set, loader.dataset")
    if isinstance(data, Image.Image):
        raise ValueError("this is one image: give a list of several")
    random_access = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if isinstance(data, IterableDataset | Iterator) or (hasattr(data, "__iter__") and not random_access):
        raise ValueError(f"cannot read images from {name}: {ORDER_FIX}")


def refuse_label(label: str, what: str) -> None:
    """Raise `ValueError` where a column of labels is named, and there are no columns."""
    if label != "label":
        raise ValueError(f"label is a column of a table, and {what} has none: leave label={label!r} out")


def is_array(data: Any) -> bool:
    """Whether this is an array of NumPy, torch or a library that makes NumPy's of its own."""
    return isinstance(data, np.ndarray | Tensor) or (
        hasattr(data, "__array__") and hasattr(data, "dtype") and hasattr(data, "shape") and not is_on_disk(data)
    )


def is_on_disk(data: Any) -> bool:
    """Whether this is an array in a file of h5py or zarr, which is read image by image."""
    return type(data).__module__.split(".")[0] in ("h5py", "zarr")


def as_frame(data: Any) -> pd.DataFrame | None:
    """A table of pandas, polars or pyarrow as one of pandas; None for anything else."""
    if isinstance(data, pd.DataFrame):
        return data
    return data.to_pandas() if hasattr(data, "to_pandas") and hasattr(data, "columns") else None


def array_source(images: Any, labels: Any, channels: int | None, name: str = "array") -> Source:
    """Images `(N, ...)`, and labels `(N,)` or `(N, K)` or None, as a source."""
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = images.to_dense() if images.layout != torch.strided else images
        images = images.float() if images.dtype == torch.bfloat16 else images
    elif not isinstance(images, np.ndarray):
        images = np.asarray(images)
    complex_ = images.is_complex() if isinstance(images, Tensor) else images.dtype.kind == "c"
    if complex_:
        raise ValueError(f"arrays of {images.dtype} are not images: take abs() of {name}")
    if images.ndim == 3 and images.shape[-1] <= FEW < len(images) and channels is None and images.shape[1] > FEW:
        raise ValueError(
            f"{name} has shape {tuple(images.shape)}, as one image in colour: add an axis, images[None]; or say "
            "channels=1 where it is many grey ones"
        )
    metadata, classes = None, None
    if labels is not None:
        count = rows_of(labels)
        if count != len(images):
            raise ValueError(f"{name} has {len(images):,} images and {count:,} labels: give one for each")
        columns, classes = label_columns(labels, name)
        metadata = pd.DataFrame(columns, index=pd.RangeIndex(len(images)))
    return ArraySource(images, metadata, name=name, classes=classes, channels=channels)


def rows_of(labels: Any) -> int:
    """How many labels there are."""
    return len(labels) if hasattr(labels, "__len__") and getattr(labels, "ndim", 1) else 1


def read_list(items: list | tuple, label: str, path_column: str, channels: int | None) -> dict[str, Source]:
    """A list or tuple, by what it holds."""
    if len(items) == 0:
        raise ValueError(f"the {type(items).__name__} is empty: {EXPECTED}")
    if len(items) == 2 and all(is_pair(item) for item in items):
        return {
            part: read_pair(item, label, path_column, channels)
            for part, item in zip(("train", "test"), items, strict=True)
        }
    if is_pair(items):
        return {"all": read_pair(items, label, path_column, channels)}
    first = items[0]
    if isinstance(first, str | bytes | os.PathLike):
        refuse_label(label, "a list of paths")
        return {"all": path_source(items, None, channels)}
    if isinstance(first, tuple | list) and first and isinstance(first[0], str | bytes | os.PathLike):
        refuse_label(label, "a list of pairs")
        if any(len(item) != 2 for item in items):
            raise ValueError("a list of paths and labels has items that are no pairs: give each (path, label)")
        return {"all": path_source([item[0] for item in items], [item[1] for item in items], channels)}
    if isinstance(first, Mapping) and isinstance(first.get(path_column), str | os.PathLike):
        return by_split_column(
            TableSource(pd.DataFrame(list(items)), label=label, path_column=path_column, channels=channels)
        )
    if is_nested(first) and not any(is_image(part) for part in first):
        try:
            nested = np.asarray(items)
        except ValueError as error:
            raise ValueError(f"lists of numbers have different lengths, and are no images: {error}") from error
        return {"all": array_source(nested, None, channels, "the list")}
    if isinstance(first, int | float | np.number):
        raise ValueError(f"the list holds numbers such as {first}, and no images: {EXPECTED}")
    return {"all": DatasetSource(items, name="the list", channels=channels, label=label)}


def is_pair(data: Any) -> bool:
    """Whether this is `(images, labels)`: images many at once, and as many labels."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        return False
    images, labels = data
    if labels is None:
        return isinstance(data, tuple) and is_many(images)
    return is_many(images) and is_column(labels, one_axis=isinstance(images, list | tuple))


def is_many(images: Any) -> bool:
    """Whether this is several images: an array of three axes or more, or a list of images or paths."""
    if isinstance(images, pd.Series | pd.Index):
        return True
    if is_array(images):
        return len(images.shape) >= 3 or np.asarray(images[:1]).dtype.kind in "USO"
    return (
        isinstance(images, list | tuple)
        and len(images) > 0
        and (is_image(images[0]) or isinstance(images[0], str | os.PathLike) or is_nested(images))
    )


def is_column(labels: Any, one_axis: bool) -> bool:
    """Whether this is a label for each of several images."""
    if isinstance(labels, pd.Series | pd.Index):
        return True
    if is_array(labels):
        return len(labels.shape) == 1 or (len(labels.shape) == 2 and not one_axis)
    return isinstance(labels, list | tuple) and not any(is_image(one) or isinstance(one, os.PathLike) for one in labels)


def read_pair(pair: tuple | list, label: str, path_column: str, channels: int | None) -> Source:
    """`(images, labels)` as a source."""
    images, labels = pair
    refuse_label(label, "(images, labels)")
    images: Any = images.tolist() if isinstance(images, pd.Series | pd.Index) else images
    if is_array(images) and getattr(images, "dtype", None) is not None and len(images.shape) >= 3:
        return array_source(images, labels, channels, "the images")
    items = list(images)
    if isinstance(items[0], str | bytes | os.PathLike):
        return path_source(items, labels, channels)
    if labels is None:
        (source,) = read_list(items, label, path_column, channels).values()
        return source
    if rows_of(labels) != len(items):
        raise ValueError(f"there are {len(items):,} images and {rows_of(labels):,} labels: give one for each")
    if is_nested(items[0]):
        return array_source(np.asarray(items), labels, channels, "the images")
    columns, classes = label_columns(list(labels) if isinstance(labels, tuple) else labels, "the labels")
    metadata = pd.DataFrame(columns, index=pd.RangeIndex(len(items)))
    return DatasetSource(items, name="the list", channels=channels, metadata=metadata, classes=classes)


def path_source(paths: Any, labels: Any, channels: int | None) -> Source:
    """A list of files as a source; they are relative to where the program runs."""
    texts = [os.fsdecode(path) if isinstance(path, bytes | os.PathLike) else path for path in paths]
    strange = next((text for text in texts if not isinstance(text, str)), None)
    if strange is not None:
        raise ValueError(f"a list of paths holds {type(strange).__name__}, too: give paths alone")
    folder = next((text for text in texts if Path(text).is_dir()), None)
    if folder is not None:
        raise ValueError(
            f"{folder!r} in the list is a folder: give the folder that holds all of them, or a dictionary of parts, "
            "{'train': FOLDER, 'test': FOLDER}"
        )
    frame = pd.DataFrame({"path": pd.Series(texts, dtype=object)})
    if labels is None:
        return TableSource(frame, name="the list of paths", channels=channels)
    if rows_of(labels) != len(texts):
        raise ValueError(f"there are {len(texts):,} paths and {rows_of(labels):,} labels: give one for each")
    columns, classes = label_columns(list(labels) if isinstance(labels, tuple) else labels, "the list of paths")
    source = TableSource(frame, name="the list of paths", channels=channels)
    source.metadata = source.metadata.assign(**columns)
    source.classes = classes
    return source


def read_columns(data: Mapping[Any, Any], label: str, path_column: str, channels: int | None) -> Source | None:
    """A dictionary of columns, such as {"images": array, "labels": array} or {"path": [...]}, as a source; None where
    it is one of parts. Further columns of as many values are metadata."""
    keys = list(data)
    if path_column in keys and not isinstance(data[path_column], str | os.PathLike | Source):
        return TableSource(pd.DataFrame(dict(data)), label=label, path_column=path_column, channels=channels)
    image = find_key(keys, IMAGE_KEYS)
    others = [key for key in keys if key != image]
    if image is None or isinstance(data[image], str | os.PathLike | Source):
        return None
    wanted = label_key(others) if label == "label" else label
    if others and wanted not in others:
        return None
    source = read_pair((data[image], data[wanted] if others else None), "label", path_column, channels)
    more = {str(key): np.asarray(data[key]) for key in others if key != wanted}
    fit = {name: values for name, values in more.items() if values.shape == (len(source),)}
    source.metadata = source.metadata.assign(**fit)
    return source
