"""Any torchvision dataset or map-style PyTorch dataset as a source."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from selfsight.data.decoding import UnreadableImage, shrink
from selfsight.data.items import common_of, parts_of_item, plain_label
from selfsight.data.labels import Labels, read_labels
from selfsight.data.sources import Source, Stored, range_of, seeded_sample

log = logging.getLogger(__name__)

LOOKED_AT = 64


class DatasetSource(Source):
    """A dataset whose items are an image, `(image, label, ...)` or `{"image": ..., "label": ...}`.

    The image is a PIL image, an array or a tensor, and is brought to the format of most (`common_of`). Labels come
    from the dataset's `targets` or `labels` where those agree with the items, else from one pass over the items;
    `metadata` and `classes` are given where they are known without. An item that fails, is None or holds no
    such image is an unreadable one. It is read by one thread, since datasets need not be thread-safe.

    Raises:
        ValueError: for a dataset that is empty, whose items hold several views of an image or none that can be
            read, or whose images do not go together.
    """

    thread_safe = False

    def __init__(
        self,
        dataset: Any,
        *,
        name: str | None = None,
        channels: int | None = None,
        label: str = "label",
        metadata: pd.DataFrame | None = None,
        classes: list[str] | None = None,
    ):
        self.dataset = dataset
        self.label = None if label == "label" else label
        name = name or type(dataset).__name__
        count = counted(dataset, name)
        known = {}
        fault: Exception | None = None
        for index in seeded_sample(count, LOOKED_AT, seed=0).tolist():
            try:
                known[index] = self._item(index)
            except Exception as error:  # of the user's own code, and of any kind; all failing is an error below
                fault = error
        if not known:
            raise ValueError(f"no readable image in {name}: {reason(fault)}")
        self.common = common_of([image for image, _ in known.values()], channels, name)
        if metadata is None:
            metadata, classes = self._labels(count, {index: label for index, (_, label) in known.items()}, name)
        sample = []
        for image, _ in known.values():
            try:
                sample.append(self.common.tensor(image, name))
            except ValueError:  # an odd one, which is named when it is read
                continue
        super().__init__(
            metadata,
            name=name,
            channels=self.common.channels,
            dtype=self.common.dtype,
            value_range=range_of(self.common.dtype, sample),
            classes=classes,
        )

    def _read(self, index: int, size: int | None) -> Tensor:
        try:
            image, _ = self._item(index)
            return shrink(self.common.tensor(image, "it").contiguous(), size)
        except Exception as error:  # of the user's own code, and of any kind
            raise UnreadableImage(f"{self.describe(index)}: {reason(error)}") from error

    def stored(self, index: int) -> Stored:
        found = stored_item(self.dataset, index)
        return super().stored(index) if found is None else found

    def _item(self, index: int) -> tuple[Any, Any]:
        return parts_of_item(self.dataset[index], self.label)

    def _labels(self, count: int, known: dict[int, Any], name: str) -> tuple[pd.DataFrame, list[str] | None]:
        """A column of labels, or none, and names of classes."""
        seen = {index: plain_label(value) for index, value in known.items() if value is not None}
        index = pd.RangeIndex(count)
        if seen and all(value is None for value in seen.values()):
            log.info("the second of each item of %s is no label (%s)", name, type(next(iter(known.values()))).__name__)
            return pd.DataFrame(index=index), None
        values, names = stored_labels(self.dataset), class_names(self.dataset)
        if values is not None and any(not same(values[place], value) for place, value in seen.items()):
            log.info("%s: labels are read from its items, which differ from its targets", name)
            values = None
        if values is None:
            if not seen:
                return pd.DataFrame(index=index), None
            values = [plain_label(self._label_of(place)) for place in range(count)]
        columns, classes = label_columns(values, name, names)
        return pd.DataFrame(columns, index=index), classes

    def _label_of(self, index: int) -> Any:
        try:
            return self._item(index)[1]
        except Exception as error:  # of the user's own code; the image is named when it is read
            log.debug("no label of item %d: %s", index, error)
            return None


def counted(dataset: Any, name: str) -> int:
    """How many items a dataset has. Raises `ValueError` where it has none, or fewer than it says."""
    try:
        count = len(dataset)
    except TypeError as error:
        raise ValueError(f"{name} has no length, so that it cannot be shuffled: {error}") from error
    if count == 0:
        raise ValueError(f"the dataset {name} is empty")
    try:
        dataset[count - 1]
    except IndexError as error:
        raise ValueError(f"{name} says that it has {count:,} items, and has no last one: correct its length") from error
    except Exception as error:  # of the user's own code; the image is named when it is read
        log.debug("the last item of %s: %s", name, error)
    return count


def reason(error: Exception | None) -> str:
    """Why an item cannot be read, in one line."""
    text = " ".join(str(error).split())
    kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
    return kind + text if text else type(error).__name__


def same(a: Any, b: Any) -> bool:
    """Whether two labels are the same; one that is missing may stand for -1 or NaN."""
    a = plain_label(a)
    return b is None or a is None or bool(np.array_equal(np.asarray(a), np.asarray(b)))


def stored_labels(dataset: Any) -> np.ndarray | None:
    """A label an item, `(N,)` or `(N, K)`, from an attribute of the dataset, or of those that it is made of."""
    if isinstance(dataset, Subset):
        values = stored_labels(dataset.dataset)
        return None if values is None else values[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [stored_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) and len({part.ndim for part in known}) == 1 else None
    if isinstance(dataset, TensorDataset):
        return as_labels(dataset.tensors[1]) if len(dataset.tensors) > 1 else None
    for name in ("targets", "labels", "_labels"):
        values = getattr(dataset, name, None)
        if values is not None and not callable(values):
            array = as_labels(values)
            if array is not None and len(array) == len(dataset):
                return array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array
    return None


def as_labels(values: Any) -> np.ndarray | None:
    """Labels `(N,)` or `(N, K)`, None where they are anything else."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    try:
        array = np.asarray(values)
    except ValueError:  # of different lengths
        return None
    return array if array.ndim in (1, 2) and array.dtype.kind in "iufUSOb" else None


def class_names(dataset: Any) -> list[str] | None:
    """Names of the classes, of a dataset or of all that it is made of."""
    if isinstance(dataset, Subset):
        return class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        first, *others = (class_names(part) for part in dataset.datasets)
        if any(other != first for other in others):
            raise ValueError(
                f"the {len(dataset.datasets)} parts of the ConcatDataset have different classes, of which code 0 is "
                f"{(first or ['none'])[0]!r} in the first: give labels that are the names, or one list to all"
            )
        return first
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple | np.ndarray) and all(isinstance(name, str) for name in names):
        return [str(name) for name in names]
    return None


def label_columns(
    values: Any, name: str, names: list[str] | None = None
) -> tuple[dict[str, np.ndarray], list[str] | None]:
    """Columns of metadata and names of classes of labels `(N,)` or `(N, K)`.

    names: what the codes 0, 1, ... are called. Rows of zeros with a single one are classes; other rows of several
    values are a column each and no class.
    """
    if isinstance(values, list) and any(isinstance(value, list) for value in values):
        widths = {len(value) for value in values if isinstance(value, list)}
        if len(widths) > 1 or any(isinstance(value, str) for value in values):
            log.warning("labels of %s are of different lengths, and are left out", name)
            return {}, None
        empty = [float("nan")] * widths.pop()
        values = np.array([value if isinstance(value, list) else empty for value in values])
    array = as_labels(values)
    if array is None:
        log.warning("labels of %s have more than two axes, or are no numbers or words: they are left out", name)
        return {}, None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        if not (np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()):
            log.info("%s has %d labels an image: they are columns label_0 and so on", name, array.shape[1])
            return {f"label_{place}": array[:, place] for place in range(array.shape[1])}, None
        log.info("labels of %s are rows of zeros with a single one: its place is the class", name)
        array = array.argmax(1)
    if names and array.dtype.kind in "iu" and array.min() >= -1 and array.max() < len(names):
        return {"label": array.astype(np.int64)}, names
    labels: Labels = read_labels(array if array.dtype.kind != "O" else pd.Series(array, dtype=object).infer_objects())
    return {"label": labels.column}, labels.classes


def stored_item(dataset: Any, index: int) -> Stored | None:
    """What an item is stored as, where that can be told without decoding it: a file, encoded bytes, or values."""
    if isinstance(dataset, Subset):
        return stored_item(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, ConcatDataset):
        part = int(np.searchsorted(dataset.cumulative_sizes, index, side="right"))
        return stored_item(dataset.datasets[part], index - (dataset.cumulative_sizes[part - 1] if part else 0))
    if hasattr(dataset, "samples") and hasattr(dataset, "loader"):  # torchvision's folders
        return dataset.samples[index][0]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[0][index]
    if hasattr(dataset, "stored_as"):
        return dataset.stored_as(index)
    values = getattr(dataset, "data", None)
    if isinstance(values, np.ndarray | Tensor) and values.ndim >= 3 and len(values) == len(dataset):
        return values[index]
    return None
