"""Which images train, and which are held out for the monitor."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsight.data import Source, seeded_sample, splits, subset
from selfsight.data.contents import equal_images
from selfsight.data.labels import label_values
from selfsight.data.parts import find_part, main_part
from selfsight.data.ranges import as_trained
from selfsight.data.subsets import group_column, group_numbers, last_groups, repeats, seeded_order
from selfsight.nets import Encoder

log = logging.getLogger(__name__)

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

    def as_trained(self, encoder: Encoder) -> Images:
        """The same images, read in the range of values that the encoder expects."""
        wanted = encoder.spec.value_range
        held_out = None if self.held_out is None else as_trained(self.held_out, wanted)
        return replace(self, train=as_trained(self.train, wanted), held_out=held_out)

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
    group: str | None = None,
    hold_out: bool = True,
) -> Images:
    """Training and held-out images: of a validation split where there is one, else those that `limit`
    leaves unused, else a twentieth of the training images. A test split is never looked at.

    No held-out image equals one that is trained on (`equal_images`), or has the same value in the column `group`.

    Raises:
        ValueError: when the data cannot be opened, have no such split or column, or `limit` is below 1.
    """
    parts = splits(data, label=label, path_column=path_column, channels=channels)
    wanted = main_part(parts) if split is None else find_part(parts, split)
    source = parts[wanted]
    if limit is not None and limit < 1:
        raise ValueError(f"limit is the number of training images and at least 1, not {limit}")
    order = seeded_order(source, seed)
    used, unused = order[:limit], order[limit:] if limit is not None else order[:0]
    if group is not None:
        group_column(source, group)
    if not hold_out:
        return Images(at_positions(source, used), None, "monitor is off: nothing is held out")
    if "val" in parts and wanted != "val":
        held = subset(parts["val"], seeded_sample(len(parts["val"]), MOST_HELD_OUT, seed))
        train, origin = at_positions(source, used), "the validation split"
        apart = unseen(train, held, origin, group)
        if len(apart) < FEWEST_HELD_OUT:
            log.warning("%s repeats the training images: what the monitor measures is no generalisation", origin)
            apart = held
        return Images(train, apart, origin)
    if len(unused) >= FEWEST_HELD_OUT:
        train, origin = at_positions(source, used), "images that limit leaves unused"
        held = unseen(train, at_positions(source, unused[:MOST_HELD_OUT]), origin, group)
        if len(held) >= FEWEST_HELD_OUT:
            return Images(train, held, origin)
    return set_apart(source, used, group)


def set_apart(source: Source, used: np.ndarray, group: str | None) -> Images:
    """A twentieth of the images at `used (N,)`, the last of them, is held out; equal ones and groups stay together."""
    count = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(used)))
    if count < FEWEST_HELD_OUT:
        return Images(at_positions(source, used), None, "too few images to hold any out")
    groups = equal_images(source)[0] if group is None else group_numbers(source, group)
    held = last_groups(used, groups, count)
    if len(held) < FEWEST_HELD_OUT:
        why = "too many equal images" if group is None else f"too few groups by {group!r}"
        return Images(at_positions(source, used), None, f"{why} to hold any out")
    train, held = at_positions(source, used[~np.isin(used, held)]), at_positions(source, held)
    origin = f"{len(held)} of the {len(used)} images, which are not trained on"
    if group is not None:
        origin += f", in whole groups by {group!r}"
        held = unseen(train, held, origin, group)
    if len(held) < FEWEST_HELD_OUT:
        return Images(at_positions(source, used), None, "the same images are in all groups: none is held out")
    return Images(train, held, origin)


def unseen(train: Source, held: Source, origin: str, group: str | None) -> Source:
    """The held-out images that neither equal one trained on nor share its group; the others are counted in the log."""
    mask, said = repeats(held, train, "training", group)
    if not said:
        return held
    log.warning("of %d held-out images (%s), %s: left out of the monitor", len(held), origin, said)
    return subset(held, np.flatnonzero(~mask))


def at_positions(source: Source, positions: np.ndarray) -> Source:
    """The images at `positions`, in the source's order."""
    return source if len(positions) == len(source) else subset(source, np.sort(positions))


def stratified_sample(source: Source, most: int, seed: int) -> Source:
    """At most `most` images in a random order, of which every prefix keeps the shares of the labels."""
    return subset(source, seeded_order(source, seed)[:most])


def has_classes(source: Source) -> bool:
    """Whether at least two classes occur."""
    return source.labels is not None and len(np.unique(source.labels[source.labels >= 0])) > 1
