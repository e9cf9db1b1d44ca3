"""Which images train, and which are held out for the monitor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfsight.data import Source, open_source, seeded_sample, splits, subset
from selfsight.data.labels import label_values
from selfsight.data.subsets import stratified_order

MOST_HELD_OUT = 2048
HELD_OUT_SHARE = 0.05
FEWEST_HELD_OUT = 2


@dataclass(frozen=True)
class Images:
    """The images of a run.

    train: those trained on. held_out: those that only the monitor sees, or None.
    origin: where the held-out images come from, in words.
    """

    train: Source
    held_out: Source | None
    origin: str

    def describe(self) -> dict[str, Any]:
        """What `summary.json` says of them."""
        held = 0 if self.held_out is None else len(self.held_out)
        return {"training_images": len(self.train), "held_out_images": held, "held_out_from": self.origin}

    def write_held_out(self, path: Path) -> None:
        """A table of the held-out images: name, and path and label, as the data have it, where there are any."""
        if self.held_out is None:
            return
        columns = [name for name in ("path", "label") if name in self.held_out.metadata]
        table = self.held_out.metadata[columns].copy()
        labels = label_values(self.held_out)
        if labels is not None:
            table["label"] = labels.to_numpy()
        table.insert(0, "image", [self.held_out.describe(position) for position in range(len(self.held_out))])
        table.to_csv(path, index=False, errors="surrogateescape")  # names of files may be any bytes


def divide(
    data: Any,
    *,
    split: str | None,
    limit: int | None,
    label: str,
    seed: int,
    path_column: str = "path",
    channels: int | None = None,
    hold_out: bool = True,
) -> Images:
    """Training and held-out images: of a validation split where there is one, else those that `limit`
    leaves unused, else a twentieth of the training images. A test split is never looked at.

    Raises:
        ValueError: when the data cannot be opened, have no such split, or `limit` is below 1.
    """
    parts = splits(data, label=label, path_column=path_column, channels=channels)
    wanted = split or ("train" if "train" in parts else "all")
    source = open_source(parts, split=wanted)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is the number of training images and at least 1, not {limit}")
    order = seeded_order(source, seed)
    used, unused = order[:limit], order[limit:] if limit is not None else order[:0]
    if not hold_out:
        return Images(chosen(source, used), None, "monitor is off: nothing is held out")
    if "val" in parts and wanted != "val":
        held = subset(parts["val"], seeded_sample(len(parts["val"]), MOST_HELD_OUT, seed))
        return Images(chosen(source, used), held, "the validation split")
    if len(unused) >= FEWEST_HELD_OUT:
        held = chosen(source, unused[:MOST_HELD_OUT])
        return Images(chosen(source, used), held, "images that limit leaves unused")
    count = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(used)))
    if count < FEWEST_HELD_OUT:
        return Images(chosen(source, used), None, "too few images to hold any out")
    origin = f"{count} of the {len(used)} images, which are not trained on"
    return Images(chosen(source, used[:-count]), chosen(source, used[-count:]), origin)


def chosen(source: Source, positions: np.ndarray) -> Source:
    """The images at `positions`, in the source's order."""
    return source if len(positions) == len(source) else subset(source, np.sort(positions))


def seeded_order(source: Source, seed: int) -> np.ndarray:
    """All positions in a random order, of which every prefix keeps the shares of the labels, if any."""
    return stratified_order(np.zeros(len(source)) if source.labels is None else source.labels, seed)


def some_of(source: Source, most: int, seed: int) -> Source:
    """At most `most` images in a random order, of which every prefix keeps the shares of the labels."""
    return subset(source, seeded_order(source, seed)[:most])


def has_classes(source: Source) -> bool:
    """Whether at least two classes occur."""
    return source.labels is not None and len(np.unique(source.labels[source.labels >= 0])) > 1
