"""From whatever a user calls data to a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from torch import Tensor

from selfsight.data.arrays import ArraySource, digits
from selfsight.data.datasets import DatasetSource
from selfsight.data.folder import folder_splits
from selfsight.data.sources import Source, encode_labels
from selfsight.data.table import READERS, TableSource, by_split_column

ORDER = ("train", "val", "test")


def open_source(
    data: Any,
    *,
    split: str | None = None,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
) -> Source:
    """One source from a folder, table, array, dataset, or "digits".

    split: "train", "val" or "test"; without it the training part where the data has parts, else
        all of it.
    label, path_column: columns of a table. channels: overrides what the data suggest.
    """
    parts = splits(data, label=label, path_column=path_column, channels=channels)
    wanted = split or ("train" if "train" in parts else "all")
    if wanted not in parts:
        named = next(iter(parts.values())).name if isinstance(data, Source) else _name(data)
        raise ValueError(f"{named} has no split {wanted!r} but {', '.join(map(repr, parts))}")
    return parts[wanted]


def splits(
    data: Any, *, label: str = "label", path_column: str = "path", channels: int | None = None
) -> dict[str, Source]:
    """The parts "train", "val", "test" as far as the data have them, else {"all": everything}.

    Class codes and channels are the same in all parts. `data` may be a dictionary of parts.
    """
    if isinstance(data, Source):
        return {"all": data}
    if isinstance(data, dict):
        return {
            name: open_source(part, label=label, path_column=path_column, channels=channels)
            for name, part in data.items()
        }
    if isinstance(data, np.ndarray | Tensor):
        return {"all": ArraySource(data, channels=channels)}
    if not isinstance(data, str | Path):
        if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            return {"all": DatasetSource(data, channels=channels)}
        raise ValueError(
            f"cannot read images from {type(data).__name__}: give a folder, table, array or map-style dataset"
        )
    if data == "digits":
        return {"all": digits()}
    return dict(_splits_of_path(Path(data), label, path_column, channels))


def _splits_of_path(path: Path, label: str, path_column: str, channels: int | None) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a folder of images, a table, .npy, .npz, or 'digits'")
    if label != "label" and suffix not in READERS:
        raise ValueError(f"label is a column of a table, and {path} is none: leave label={label!r} out")
    if path_column != "path" and suffix not in READERS:
        raise ValueError(
            f"path_column is a column of a table, and {path} is none: leave path_column={path_column!r} out"
        )
    if path.is_dir():
        return folder_splits(path, channels)
    if suffix in READERS:
        return by_split_column(TableSource(path, label=label, path_column=path_column, channels=channels))
    if suffix == ".npy":
        with array_errors(path):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"all": ArraySource(array, name=str(path), channels=channels)}
    if suffix == ".npz":
        return _npz_splits(path, channels)
    raise ValueError(f"cannot read images from {path}: expected a folder, {', '.join(READERS)}, .npy or .npz")


@contextmanager
def array_errors(path: Path) -> Iterator[None]:
    """Name the file in whatever keeps NumPy from reading it, a pickle above all."""
    try:
        yield
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error


def _npz_splits(path: Path, channels: int | None) -> dict[str, Source]:
    """Arrays `SPLIT_images` and `SPLIT_labels` as MedMNIST has them, or `images` and `labels`, or `x` and `y`."""
    images, labels = {}, {}
    with array_errors(path), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        prefixes = {split: f"{split}_" for split in ORDER if f"{split}_images" in archive or f"{split}_x" in archive}
        prefixes = prefixes or {"all": ""}
        for split, prefix in prefixes.items():
            images[split] = _first(archive, prefix + "images", prefix + "x")
            labels[split] = _first(archive, prefix + "labels", prefix + "y")
        found = archive.files
    if any(array is None for array in images.values()):
        raise ValueError(f"{path} has no 'images', 'train_images' or 'x' but {', '.join(found)}")
    return _labelled(path, images, labels, channels)


def _first(archive: Any, *names: str) -> np.ndarray | None:
    return next((archive[name] for name in names if name in archive), None)


def _labelled(path: Path, images: dict, labels: dict, channels: int | None) -> dict[str, Source]:
    """A source a split, with the codes of the labels of all splits together."""
    known = {split: values.reshape(len(values), -1) for split, values in labels.items() if values is not None}
    columns: dict[str, pd.DataFrame] = {
        split: pd.DataFrame(index=pd.RangeIndex(len(array))) for split, array in images.items()
    }
    classes = None
    if known and all(values.shape[1] == 1 for values in known.values()):
        codes, classes = encode_labels(np.concatenate(list(known.values())))
        parts = np.split(codes, np.cumsum([len(values) for values in known.values()])[:-1])
        for split, part in zip(known, parts, strict=True):
            columns[split] = pd.DataFrame({"label": part})
    else:  # one column a label: several answers an image are metadata, not a class
        for split, values in known.items():
            columns[split] = pd.DataFrame({f"label_{column}": values[:, column] for column in range(values.shape[1])})
    return {
        split: ArraySource(array, columns[split], name=f"{path} ({split})", classes=classes, channels=channels)
        for split, array in images.items()
    }


def _name(data: Any) -> str:
    if isinstance(data, dict):
        return "the data"
    return str(data) if isinstance(data, str | Path) else type(data).__name__
