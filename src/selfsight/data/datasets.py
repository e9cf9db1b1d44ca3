"""Any torchvision dataset or map-style PyTorch dataset as a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from selfsight.data.arrays import as_channels_first, channel_axis
from selfsight.data.decoding import UnreadableImage, image_to_tensor, shrink
from selfsight.data.kinds import common_format, kind_of
from selfsight.data.labels import encode_labels
from selfsight.data.sources import Source, range_of, seeded_sample

LOOKED_AT = 64


class DatasetSource(Source):
    """A dataset whose items are an image, `(image, label, ...)` or `{"image": ..., "label": ...}`.

    The image is a PIL image, an array or a tensor. Labels come from the dataset's
    `targets` or `labels` where it has them, else from one pass over the items. It is read by one
    thread, since datasets need not be thread-safe.
    """

    thread_safe = False

    def __init__(self, dataset: Any, *, name: str | None = None, channels: int | None = None):
        if len(dataset) == 0:
            raise ValueError(f"the dataset {type(dataset).__name__} is empty")
        self.dataset = dataset
        name = name or type(dataset).__name__
        looked_at = [self._item(int(i))[0] for i in seeded_sample(len(dataset), LOOKED_AT, seed=0)]
        self.form = None
        if isinstance(looked_at[0], Image.Image):
            self.form = common_format([kind_of(image) for image in looked_at], channels)
        self.channels_given = channels
        sample = [self._tensor(image) for image in looked_at]
        codes, classes = _labels(dataset, self._item)
        super().__init__(
            pd.DataFrame({} if codes is None else {"label": codes}, index=pd.RangeIndex(len(dataset))),
            name=name,
            channels=sample[0].shape[0],
            dtype=sample[0].dtype,
            value_range=range_of(sample[0].dtype, sample),
            classes=classes,
        )

    def _read(self, index: int, size: int | None) -> Tensor:
        try:
            image, _ = self._item(index)
            return shrink(self._tensor(image).contiguous(), size)
        except OSError as error:
            raise UnreadableImage(f"{self.describe(index)}: {error}") from error

    def _item(self, index: int) -> tuple[Any, Any]:
        item = self.dataset[index]
        if isinstance(item, Mapping):
            return item["image"], item.get("label")
        if isinstance(item, tuple | list):
            return item[0], item[1] if len(item) > 1 else None
        return item, None

    def _tensor(self, image: Any) -> Tensor:
        if isinstance(image, Image.Image):
            if self.form is None:
                raise ValueError(f"{type(self.dataset).__name__} mixes PIL images with arrays")
            return image_to_tensor(image, self.form)
        return as_channels_first(image, channel_axis(image.shape, self.channels_given, of=type(self.dataset).__name__))


def _labels(dataset: Any, item: Callable[[int], tuple[Any, Any]]) -> tuple[np.ndarray | None, list[str] | None]:
    """Codes and class names, or None twice."""
    values = _stored_labels(dataset)
    if values is None:
        if not _is_label(item(0)[1]):
            return None, None
        values = np.asarray([_scalar(item(index)[1]) for index in range(len(dataset))])
    names = getattr(dataset, "classes", None)
    if names is not None and values.dtype.kind in "iu" and values.min() >= -1 and values.max() < len(names):
        return values.astype(np.int64), [str(name) for name in names]
    return encode_labels(values)


def _stored_labels(dataset: Any) -> np.ndarray | None:
    """One label an item from an attribute of the dataset, or of the one that it is a subset of."""
    if isinstance(dataset, torch.utils.data.Subset):
        values = _stored_labels(dataset.dataset)
        return None if values is None else values[np.asarray(dataset.indices)]
    for name in ("targets", "labels", "_labels"):
        values = getattr(dataset, name, None)
        if values is not None:
            array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
            if array.size == len(dataset) and array.dtype.kind in "iuUSOb":
                return array.ravel()
    return None


def _is_label(value: Any) -> bool:
    return isinstance(_scalar(value), int | str)


def _scalar(value: Any) -> Any:
    """A Python value of a number, or of an array or tensor that holds one."""
    if isinstance(value, Tensor):
        value = value.cpu().numpy()
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.size == 1 else value
