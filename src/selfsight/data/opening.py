"""From whatever a user calls data to a source."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selfsight.data.archives import archive_splits, array_errors
from selfsight.data.arrays import ArraySource, digits, only_array, refuse_one_image
from selfsight.data.classes import share_classes
from selfsight.data.files import SUFFIXES
from selfsight.data.folder import FolderSource, folder_splits
from selfsight.data.inputs import read_columns, read_object
from selfsight.data.labels import NO_LABEL, class_numbers, label_values, look_measured, number_of
from selfsight.data.masks import masked_splits
from selfsight.data.parts import by_part, by_split_column, find_part, main_part
from selfsight.data.ranges import share_range
from selfsight.data.sources import Source
from selfsight.data.table import READERS, TableSource
from selfsight.naming import listed, printable

log = logging.getLogger(__name__)

PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def open_source(
    data: Any,
    *,
    split: str | None = None,
    label: str = "label",
    path_column: str = "path",
    channels: int | None = None,
) -> Source:
    """One source from a folder, table, array, dataset, or "digits".

    split: "train", "val" or "test", or another word for it (`part_of`); without it the training part where the data
        have several, else all of it.
    label, path_column: columns of a table. channels: overrides what the data suggest.
    """
    parts = splits(data, label=label, path_column=path_column, channels=channels)
    named = next(iter(parts.values())).name if isinstance(data, Source) else _name(data)
    return parts[main_part(parts, named) if split is None else find_part(parts, split, named)]


def splits(
    data: Any, *, label: str = "label", path_column: str = "path", channels: int | None = None
) -> dict[str, Source]:
    """The parts "train", "val", "test" as far as the data have them, else {"all": everything}.

    Class codes, channels and the range of values are the same in all parts. `data` may be a dictionary of parts.
    """
    parts = _parts(data, label, path_column, channels)
    shared = share_range(share_classes(with_single_folders(parts)))
    given = data.values() if isinstance(data, Mapping) else [data]
    if not all(isinstance(part, Source) for part in given):
        for part in shared.values():
            say(part)
    return shared


def _parts(data: Any, label: str, path_column: str, channels: int | None) -> dict[str, Source]:
    if isinstance(data, Source):
        return {"all": as_it_is(data, label, path_column, channels)}
    if isinstance(data, Mapping):
        source = read_columns(data, label, path_column, channels)
        return _given_parts(data, label, path_column, channels) if source is None else {"all": source}
    if isinstance(data, bytes | os.PathLike):
        data = os.fsdecode(data)
    if not isinstance(data, str):
        return read_object(data, label=label, path_column=path_column, channels=channels)
    if data == "digits":
        if os.path.exists(data):
            log.warning("'digits' is scikit-learn's; what lies here under that name is ./digits")
        return {"all": as_it_is(digits(), label, path_column, channels)}
    if not data.strip():
        raise ValueError("the data is an empty text: give a folder of images, a table, .npy, .npz, or 'digits'")
    path = Path(data)
    if not os.path.lexists(path) and data.startswith("~"):
        path = path.expanduser()
    return dict(_splits_of_path(path, label, path_column, channels))


def as_it_is(source: Source, label: str, path_column: str, channels: int | None) -> Source:
    """A source that is opened already. Raises `ValueError` where it was to be read in another way."""
    for name, value in (("label", label), ("path_column", path_column)):
        if value != name.removesuffix("_column"):
            raise ValueError(f"{name} is chosen when data are opened, and {source.name} is: leave {name}={value!r} out")
    if channels not in (None, source.channels):
        raise ValueError(
            f"{source.name} is read with {source.channels} channels, and {channels} are asked for: "
            f"open it with channels={channels}, or give other images"
        )
    return source


def _given_parts(data: Mapping[Any, Any], label: str, path_column: str, channels: int | None) -> dict[str, Source]:
    """Sources of a dictionary of parts, under their proper names where they have others."""
    if not data:
        raise ValueError("the dictionary is empty: give parts, {'train': ..., 'test': ...}")
    names = by_part(map(str, data), "the dictionary")
    proper = {given: part for part, given in names.items()}
    parts = {proper.get(str(name), str(name)): part for name, part in data.items()}
    return {name: _part(name, part, label, path_column, channels) for name, part in parts.items()}


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
    numbers = class_numbers(classes)
    if numbers is not None and look_measured(numbers):
        log.warning(
            "%d different whole numbers, %s to %s, are taken for classes of %s: if they measure something, such as "
            "an age, leave them out of label= (methods that learn from numbers name them with columns=), or bin them; "
            "if they are classes, write them as words to be rid of this line",
            len(numbers), classes[0], classes[-1], source.name,
        )  # fmt: skip
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
    if path_column != "path" and suffix not in READERS:
        raise ValueError(
            f"path_column is a column of a table, and {path} is none: leave path_column={path_column!r} out"
        )
    if path.is_dir():
        return masked_splits(path, channels) or folder_splits(path, channels)
    expected = f"a folder, {', '.join(READERS)}, .npy or .npz"
    if not path.is_file():  # reading a pipe may never end
        raise ValueError(f"{printable(path)} is neither a folder nor a file: give {expected}")
    if suffix in READERS:
        return by_split_column(TableSource(path, label=label, path_column=path_column, channels=channels))
    if suffix == ".npy":
        with array_errors(path):
            array = only_array(np.load(path, mmap_mode="r", allow_pickle=False))
        refuse_one_image(array.shape, channels, str(path))
        return {"all": ArraySource(array, name=str(path), channels=channels)}
    if suffix == ".npz":
        return archive_splits(path, channels)
    if suffix in SUFFIXES:
        raise ValueError(f"{printable(path)} is one image: give the folder it lies in, or a table of several")
    if suffix in PACKED:
        raise ValueError(f"{printable(path)} is packed: unpack it and give the folder or file in it")
    raise ValueError(f"cannot read images from {printable(path)}: give {expected}")


def _name(data: Any) -> str:
    if isinstance(data, dict):
        return "the data"
    return str(data) if isinstance(data, str | Path) else type(data).__name__
