"""Arrays in `.npz` files, with parts and labels under whatever names people give them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from selfsight.data.arrays import ArraySource, only_array, refuse_one_image
from selfsight.data.datasets import label_columns
from selfsight.data.decoding import DECODE_ERRORS
from selfsight.data.items import IMAGE_KEYS, LABEL_KEYS
from selfsight.data.parts import ORDER, part_of
from selfsight.data.sources import Source


@contextmanager
def array_errors(path: Path) -> Iterator[None]:
    """Name the file in whatever keeps NumPy from reading it, a pickle above all."""
    try:
        yield
    except (*DECODE_ERRORS, BadZipFile, MemoryError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from error


def archive_splits(path: Path, channels: int | None) -> dict[str, Source]:
    """Arrays `SPLIT_images` and `SPLIT_labels` as MedMNIST has them, `x_train` and `y_train` as Keras has, or `images`
    and `labels` of all; with any words for the parts (`part_of`)."""
    with array_errors(path), open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        found = archive.files
        chosen = {(part, "image"): key for part, key in keys_of(found, IMAGE_KEYS).items()}
        parts = [part for part in (*ORDER, "all") if (part, "image") in chosen]
        parts = [part for part in parts if part != "all"] or parts
        chosen |= {(part, "label"): key for part, key in keys_of(found, LABEL_KEYS).items()}
        images = {part: only_array(archive[chosen[part, "image"]]) for part in parts}
        labels = {part: only_array(archive[chosen[part, "label"]]) for part in parts if (part, "label") in chosen}
    if not images:
        raise ValueError(f"{path} has no 'images', 'train_images' or 'x' but {', '.join(found)}")
    return labelled(path, images, labels, channels)


def keys_of(names: list[str], words: tuple[str, ...]) -> dict[str, str]:
    """The name of an array for each part, or for "all", of those that are called by one of the words."""
    keys: dict[str, str] = {}
    for word in words:
        for name in names:
            tokens = [token for token in re.split(r"[\s_.-]+", name.lower()) if token]
            if word in tokens:
                rest = [token for token in tokens if token != word]
                part = part_of("_".join(rest)) if rest else "all"
                if part is not None:
                    keys.setdefault(part, name)
    return keys


def labelled(
    path: Path, images: dict[str, np.ndarray], labels: dict[str, np.ndarray], channels: int | None
) -> dict[str, Source]:
    """A source a part, with the codes of the labels of all parts together."""
    for part, array in images.items():
        if array.ndim == 0:
            raise ValueError(f"{path} holds a single number in place of images")
        if part not in labels:
            refuse_one_image(array.shape, channels, str(path))
    for part, values in labels.items():
        if values.ndim == 0 or len(values) != len(images[part]):
            raise ValueError(f"{path} has {len(images[part]):,} images and labels {values.shape} of {part!r}")
    metadata = {part: pd.DataFrame(index=pd.RangeIndex(len(array))) for part, array in images.items()}
    classes = None
    flat = [values.reshape(len(values), -1) for values in labels.values()]
    if flat:
        if len({values.shape[1] for values in flat}) > 1:
            raise ValueError(f"{path} has labels of different widths in its parts: give all as many an image")
        columns, classes = label_columns(np.concatenate(flat), str(path))
        ends = np.cumsum([len(values) for values in flat])[:-1]
        for name, column in columns.items():
            for part, piece in zip(labels, np.split(column, ends), strict=True):
                metadata[part][name] = piece
    return {
        part: ArraySource(array, metadata[part], name=f"{path} ({part})", classes=classes, channels=channels)
        for part, array in images.items()
    }
