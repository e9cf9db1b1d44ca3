"""From whatever a user calls data to a source."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from torch import Tensor

from selfsight.data.arrays import ArraySource, digits
from selfsight.data.classes import share_classes
from selfsight.data.datasets import DatasetSource
from selfsight.data.files import SUFFIXES
from selfsight.data.folder import FolderSource, folder_splits
from selfsight.data.labels import NO_LABEL, class_numbers, label_values, number_of, read_labels
from selfsight.data.ranges import share_range
from selfsight.data.sources import Source
from selfsight.data.table import READERS, TableSource, by_split_column
from selfsight.naming import listed, printable

log = logging.getLogger(__name__)

PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
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

    Class codes, channels and the range of values are the same in all parts. `data` may be a dictionary of parts.
    """
    parts = _parts(data, label, path_column, channels)
    shared = share_range(share_classes(with_single_folders(parts)))
    if not all(isinstance(part, Source) for part in (data.values() if isinstance(data, dict) else [data])):
        for part in shared.values():
            say(part)
    return shared


def _parts(data: Any, label: str, path_column: str, channels: int | None) -> dict[str, Source]:
    if isinstance(data, Source):
        return {"all": data}
    if isinstance(data, dict):
        return {name: _part(name, part, label, path_column, channels) for name, part in data.items()}
    if isinstance(data, np.ndarray | Tensor):
        return {"all": ArraySource(data, channels=channels)}
    if isinstance(data, bytes | os.PathLike):
        data = os.fsdecode(data)
    if not isinstance(data, str):
        if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
            return {"all": DatasetSource(data, channels=channels)}
        raise ValueError(
            f"cannot read images from {type(data).__name__}: give a folder, table, array or map-style dataset"
        )
    if data == "digits":
        if os.path.exists(data):
            log.warning("'digits' is scikit-learn's; what lies here under that name is ./digits")
        return {"all": digits()}
    if not data.strip():
        raise ValueError("the data is an empty text: give a folder of images, a table, .npy, .npz, or 'digits'")
    path = Path(data)
    if not os.path.lexists(path) and data.startswith("~"):
        path = path.expanduser()
    return dict(_splits_of_path(path, label, path_column, channels))


def _part(name: str, data: Any, label: str, path_column: str, channels: int | None) -> Source:
    """The source of one part: where what is given has parts itself, that of the same name."""
    parts = _parts(data, label, path_column, channels)
    if list(parts) == ["all"]:
        return parts["all"]
    if name not in parts:
        raise ValueError(
            f"the part {name!r} has parts itself, {', '.join(map(repr, parts))}, none of that name: give one"
            " by its own path"
        )
    return parts[name]


def with_single_folders(parts: dict[str, Source]) -> dict[str, Source]:
    """Parts in folders, with labels for those that hold a single class of several that all parts have."""
    folders = {
        name: part for name, part in parts.items() if isinstance(part, FolderSource) and "label" not in part.metadata
    }
    known = {folder for part in folders.values() for folder in part.folders} - {""}
    if len(known) < 2 and all("label" not in part.metadata for part in parts.values()):
        return parts
    return parts | {name: part.by_folder() for name, part in folders.items() if any(part.folders)}


def say(source: Source) -> None:
    """One line of what was read: images, classes, and how many have none."""
    said = [f"{len(source):,} images", *said_of_classes(source)]
    if isinstance(source, FolderSource):
        if source.classes is None and any(source.folders):
            said.append(f"all lie below the one folder {source.folders[-1]!r}, which is no class")
        elif source.classes is not None and source.deeper:
            said.append(f"classes are the first folders, and {source.deeper:,} images lie deeper")
    log.info("%s: %s", source.name, "; ".join(said))
    classes = source.classes or []
    alike = [number if (number := number_of(name)) is not None else name.casefold() for name in classes]
    often = Counter(alike)
    twins = [name for name, one in zip(classes, alike, strict=True) if often[one] > 1]
    if twins:
        log.warning("classes of %s that are written almost alike: %s", source.name, listed(twins))


def said_of_classes(source: Source) -> list[str]:
    """How many classes there are, whether they are numbers, and how many images have none."""
    labels = label_values(source)
    if labels is None:
        return ["no labels"]
    missing = int(labels.isna().sum())
    classes = source.classes or []
    numbers = class_numbers(classes) is not None
    if source.labels is None:
        said = ["labels are numbers and no classes"]
    else:
        said = [f"{source.labels.max(initial=-1) + 1 if source.classes is None else len(classes):,} classes"]
        said[0] += f" (whole numbers from {classes[0]} to {classes[-1]})" if numbers else ""
    if missing:
        alone = f", which is no class: write 0 and 1 for -1 and {classes[0]}" if numbers and len(classes) == 1 else ""
        where = "not in a class folder" if isinstance(source, FolderSource) else "empty"
        said.append(f"{missing:,} without a label ({where} or {NO_LABEL}{alone})")
    return said


def _splits_of_path(path: Path, label: str, path_column: str, channels: int | None) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if not path.exists():
        raise ValueError(f"{printable(path)} does not exist: give a folder of images, a table, .npy, .npz, or 'digits'")
    if label != "label" and suffix not in READERS:
        raise ValueError(f"label is a column of a table, and {path} is none: leave label={label!r} out")
    if path.is_dir():
        return folder_splits(path, channels)
    expected = f"a folder, {', '.join(READERS)}, .npy or .npz"
    if not path.is_file():  # reading a pipe may never end
        raise ValueError(f"{printable(path)} is neither a folder nor a file: give {expected}")
    if suffix in READERS:
        return by_split_column(TableSource(path, label=label, path_column=path_column, channels=channels))
    if suffix == ".npy":
        with array_errors(path):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"all": ArraySource(array, name=str(path), channels=channels)}
    if suffix == ".npz":
        return _npz_splits(path, channels)
    if suffix in SUFFIXES:
        raise ValueError(f"{printable(path)} is one image: give the folder it lies in, or a table of several")
    if suffix in PACKED:
        raise ValueError(f"{printable(path)} is packed: unpack it and give the folder or file in it")
    raise ValueError(f"cannot read images from {printable(path)}: give {expected}")


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
        read = read_labels(np.concatenate(list(known.values())))
        classes = read.classes
        parts = np.split(read.column, np.cumsum([len(values) for values in known.values()])[:-1])
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
