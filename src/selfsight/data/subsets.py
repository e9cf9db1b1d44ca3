"""Seeded subsets of a source: they keep the shares of labels, and what belongs together stays together."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfsight.data.contents import equal_images
from selfsight.data.labels import number_of
from selfsight.data.sources import Source, subset
from selfsight.naming import nearest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Division:
    """A source cut in two. said: what was held out and how, in words, such as "a stratified 20%"."""

    rest: Source
    held: Source
    said: str


def limited(source: Source, limit: int | None, seed: int = 0) -> Source:
    """At most `limit` images of `source`, drawn by `seed`, in the source's order.

    Labels keep their shares where there are labels. A smaller limit draws from the larger one's images.
    """
    if limit is None or limit >= len(source):
        return source
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}: leave it out to take all images")
    return subset(source, np.sort(seeded_order(source, seed)[:limit]))


def seeded_order(source: Source, seed: int) -> np.ndarray:
    """All positions in a random order, of which every prefix keeps the shares of the labels, if any."""
    return stratified_order(np.zeros(len(source)) if source.labels is None else source.labels, seed)


def stratified_order(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A random order of the positions of `labels (N,)` in which every prefix keeps the shares of the labels.

    The j-th of the n images of a class stands at (j + 1/2) / n of the way.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    _, group, sizes = np.unique(np.asarray(labels)[shuffled], return_inverse=True, return_counts=True)
    by_group = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(labels))
    rank[by_group] = np.arange(len(labels)) - starts[group[by_group]]
    return shuffled[np.argsort((rank + 0.5) / sizes[group], kind="stable")]


def split_at_random(source: Source, fraction: float, seed: int, group: str | None = None) -> tuple[Source, Source]:
    """A source without, and one with, a random `fraction` of its images (`hold_out`)."""
    division = hold_out(source, fraction, seed, group)
    return division.rest, division.held


def hold_out(source: Source, fraction: float, seed: int, group: str | None = None) -> Division:
    """A random `fraction` of the images apart from the others.

    Equal images (`equal_images`) are on one side, and so are images with the same value in the column `group`; an
    image of the rest that equals one of another group that is held out is left out. Stratified by label where
    nothing belongs together, every label occurs twice and both parts can hold each of them.

    Raises:
        ValueError: where both parts cannot have an image.
    """
    held = round(len(source) * fraction)
    if not 0 < held < len(source):
        raise ValueError(f"cannot hold out {fraction:.0%} of {len(source)} images: both parts need at least one")
    groups = equal_images(source)[0] if group is None else group_numbers(source, group)
    if len(np.unique(groups)) == len(source):
        return hold_out_images(source, held, fraction, seed)
    chosen = last_groups(seeded_order(source, seed), groups, held)
    if len(chosen) == 0:
        together = "equal one another" if group is None else f"share a value of {group!r}"
        largest = int(np.unique(groups, return_counts=True)[1].max())
        raise ValueError(
            f"cannot hold out {fraction:.0%} of the {len(source):,} images of {source.name}: {largest:,} of them "
            f"{together}, and would be on both sides; give a test part"
        )
    part = np.zeros(len(source), dtype=bool)
    part[chosen] = True
    rest, test = subset(source, np.flatnonzero(~part)), subset(source, np.flatnonzero(part))
    share = f"a random {len(test) / len(source):.0%} ({len(test):,} of {len(source):,} images, not stratified: "
    if group is None:
        _, sizes = np.unique(groups, return_counts=True)
        twins = int(sizes[sizes > 1].sum())
        return Division(rest, test, share + f"{twins:,} images have an equal one, and equal images stay together)")
    rest = without_repeats(rest, test)
    count = len(np.unique(groups[part]))
    return Division(rest, test, share + f"{count:,} whole groups by {group!r} of {len(np.unique(groups)):,})")


def hold_out_images(source: Source, held: int, fraction: float, seed: int) -> Division:
    """Single images apart from the others, with the shares of the labels where they can be kept."""
    from sklearn.model_selection import train_test_split

    labels, why = source.labels, "there are no labels"
    if labels is not None:
        codes, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2:
            why, labels = f"{label_name(source, codes[counts.argmin()])} has a single image", None
        elif len(counts) > min(held, len(source) - held):
            why, labels = f"{len(counts):,} labels are more than one part can hold", None
    rest, part = train_test_split(np.arange(len(source)), test_size=held, random_state=seed, stratify=labels)
    said = f"a random {fraction:.0%} (not stratified: {why})" if labels is None else f"a stratified {fraction:.0%}"
    return Division(subset(source, np.sort(rest)), subset(source, np.sort(part)), said)


def label_name(source: Source, code: int) -> str:
    """How a label is called in a sentence."""
    if code < 0:
        return "what has no label"
    return f"class {source.classes[code] if source.classes else code}"


def group_numbers(source: Source, column: str) -> np.ndarray:
    """A number `(N,)` for each image, the same for equal values of a column; an image without a value is a group of
    its own, and counted in the log.

    Raises:
        ValueError: for a column that is not there, or the same everywhere.
    """
    numbers, values = pd.factorize(group_column(source, column))
    if len(values) == 0 or (len(values) == 1 and (numbers >= 0).all()):
        held = "empty" if len(values) == 0 else f"{values[0]} everywhere"
        raise ValueError(f"column {column!r} of {source.name} is {held}, and tells no groups apart: name another")
    missing = numbers < 0
    if missing.any():
        log.info("%d images of %s have no %s: each is a group of its own", missing.sum(), source.name, column)
    return np.where(missing, len(values) + np.arange(len(numbers)), numbers)


def group_column(source: Source, column: str) -> pd.Series:
    """A column of metadata. Raises `ValueError` where there is none of that name, with the nearest."""
    if column == "label":
        raise ValueError("group is a column of what belongs together, and 'label' is the class: name another")
    if column not in source.metadata or column == "path":
        names = [str(name) for name in source.metadata if name not in ("path", "label")]
        raise ValueError(f"group is a column, and {source.name} has no {column!r}{nearest(column, names)}")
    return pd.Series(source.metadata[column])


def last_groups(order: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Positions of about `count` images in whole groups, those whose first image stands last in `order`.

    order: positions, of which only those that occur in it are taken. groups: `(N,)`, a number an image. A group is
    taken where it brings their number nearer to `count`, and one of at most half of all where none does; where all are
    alone, these are the last `count` of `order`.
    """
    inside = np.zeros(len(groups), dtype=bool)
    inside[order] = True
    _, first, numbers, sizes = np.unique(groups[inside], return_index=True, return_inverse=True, return_counts=True)
    taken, held = np.zeros(len(first), dtype=bool), 0
    lead = np.full(len(groups), -1)
    lead[np.flatnonzero(inside)[first]] = np.arange(len(first))
    for group in lead[order[::-1]]:
        if held >= count:
            break
        if group >= 0 and held + sizes[group] / 2 < count and held + sizes[group] < len(order):
            taken[group] = True
            held += int(sizes[group])
    if count and not held:  # all are large: the last that leaves as much
        taken[[group for group in lead[order] if group >= 0 and 2 * sizes[group] <= len(order)][-1:]] = True
    return np.flatnonzero(inside)[taken[numbers]]


def repeats(source: Source, other: Source, named: str, group: str | None = None) -> tuple[np.ndarray, str]:
    """Which images `(N,)` equal one of another part, which is called `named`, or share a value of the column `group`
    with one; and words that count both, "" where there are none.
    """
    ours, theirs = equal_images(source, other, across=True)
    mask = np.isin(ours, theirs)
    said = [f"{mask.sum():,} equal {named} images"] if mask.any() else []
    if group is not None:
        a, b = (as_words(group_column(one, group)) for one in (source, other))
        shared = (a.notna() & a.isin(b.dropna())).to_numpy(bool)
        said += [f"{shared.sum():,} share a value of {group!r} with {named} images"] if shared.any() else []
        mask = mask | shared
    return mask, " and ".join(said)


def without_repeats(train: Source, test: Source, group: str | None = None) -> Source:
    """The training images that neither equal a test image nor share its group; the others are counted in the log.

    Where a class would lose all of its images to equal ones, as in drawings of a few, those are kept, which the log
    says.

    Raises:
        ValueError: where all images are the same files, or are of groups that are tested on.
    """
    mask, said = repeats(train, test, "test", group)
    if not said:
        return train
    said = f"of {len(train):,} training images of {train.name}, {said}"
    labels = np.zeros(len(train)) if train.labels is None else train.labels
    lost = np.setdiff1d(labels, labels[~mask])
    if group is None and len(lost) and not same_files(train, test):
        log.warning("%s: what is measured is too good, and they are kept since a class has no others", said)
        return train
    if mask.all():
        raise ValueError(f"{said}, and nothing is left to learn from: give parts that share nothing")
    log.warning("%s: left out of training", said)
    return subset(train, np.flatnonzero(~mask))


def same_files(train: Source, test: Source) -> bool:
    """Whether an image of both parts is the same file."""
    paths = [{one for one in map(part.stored, range(len(part))) if isinstance(one, str)} for part in (train, test)]
    real = [{os.path.realpath(path) for path in some} for some in paths]
    return not real[0].isdisjoint(real[1])


def as_words(column: pd.Series) -> pd.Series:
    """Values as words, whole numbers alike whether they are written 7 or 7.0; missing where there is none."""

    def word(value: Any) -> str:
        number = number_of(str(value))
        return str(value) if number is None or number != round(number) else str(int(number))

    return column.astype(object).map(word, na_action="ignore")
