"""Which images are learned from and which are tested on: the data's own parts, a hold-out, folds, or one site after the
other. Nothing is ever on both sides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from selfsight.data import Source, subset
from selfsight.data.contents import equal_images
from selfsight.data.labels import missing_classes
from selfsight.data.subsets import group_column, group_numbers, limited, without_repeats
from selfsight.naming import listed
from selfsight.probes.subjects import train_and_test

log = logging.getLogger(__name__)

Sides = list[tuple[Source, Source]]


def divide(
    parts: Mapping[str, Source],
    *,
    folds: int | None = None,
    leave_out: str | None = None,
    test_split: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    labelled: bool = True,
) -> tuple[Sides, Source]:
    """Pairs of training and test images, and all images that may be learned from.

    parts: those of the data, by name. folds: so many parts of the training images are tested on in turn.
    leave_out: the images of each value of this column in turn. labelled: whether images without a label are left out
    first.
    """
    if folds is None and leave_out is None:
        train, test, said = train_and_test(parts, test_split=test_split, seed=seed, group=group, labelled=labelled)
        log.info("%s", said)
        train, test = (with_label(one, role, labelled) for one, role in ((train, "training"), (test, "test")))
        return [(limit_to(train, limit, seed), test)], train
    name = "train" if "train" in parts else next(iter(parts))
    if len(parts) > 1:
        log.info("the part %r alone is learned from and tested on in turn, out of %s", name, ", ".join(parts))
    source = with_label(parts[name], "training", labelled)
    sides = by_value(source, leave_out, group) if leave_out is not None else by_fold(source, folds or 2, seed, group)
    return [(limit_to(train, limit, seed), test) for train, test in sides], source


def with_label(source: Source, role: str, wanted: bool) -> Source:
    """The images that have a label, where one is wanted."""
    if not wanted:
        return source
    why, labels = missing_classes(source), source.labels
    if why is not None or labels is None:
        raise ValueError(why)
    missing = int((labels < 0).sum())
    if missing:
        log.info("%d of %d %s images have no label (an empty one or -1) and are left out", missing, len(labels), role)
        return subset(source, np.flatnonzero(labels >= 0))
    return source


def limit_to(source: Source, limit: int | None, seed: int) -> Source:
    """At most `limit` images to learn from."""
    if limit is not None and limit > len(source):
        log.info("limit is %d and there are %d training images: all are taken", limit, len(source))
    return limited(source, limit, seed)


def by_fold(source: Source, folds: int, seed: int, group: str | None) -> Sides:
    """Each of `folds` parts as test images once, with the shares of the classes; equal images and groups together."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    together = equal_images(source)[0] if group is None else group_numbers(source, group)
    grouped, labels = len(np.unique(together)) < len(source), source.labels
    if len(np.unique(together)) < folds:
        raise ValueError(f"folds is {folds} and there are {len(np.unique(together))} to divide: lower folds")
    if labels is not None and np.bincount(labels + 1)[1:].max(initial=0) < folds:
        labels = None
    kind: Any = (GroupKFold if labels is None else StratifiedGroupKFold) if grouped else (
        KFold if labels is None else StratifiedKFold
    )  # fmt: skip
    cut = kind(folds, shuffle=True, random_state=seed).split(
        np.zeros(len(source)), labels, together if grouped else None
    )
    sides = []
    for train, test in cut:
        if len(train) == 0 or len(test) == 0:
            raise ValueError(f"folds is {folds}, and too many images belong together to divide them so: lower folds")
        held = subset(source, test)
        rest = subset(source, train)
        sides.append((rest if group is None else without_repeats(rest, held, group), held))
    log.info(
        "%d folds of %d images, %s%s", folds, len(source), "stratified" if labels is not None else "not stratified",
        f", each value of {group!r} in one of them" if group else "",
    )  # fmt: skip
    return sides


def by_value(source: Source, column: str, group: str | None) -> Sides:
    """The images of each value of a column as test images once; those without one are always learned from."""
    values = pd.Series(group_column(source, column))
    found = sorted(values.dropna().unique(), key=str)
    if len(found) < 2:
        raise ValueError(f"leave_out {column!r} has {len(found)} values: at least two are wanted")
    if 2 * len(found) > len(source):
        raise ValueError(
            f"leave_out {column!r} has {len(found)} values for {len(source)} images, and would take as many rounds: "
            "name a column such as the site"
        )
    log.info("each value of %r is tested on in turn: %s", column, listed(list(map(str, found))))
    sides = []
    for value in found:
        mask = (values == value).fillna(False).to_numpy(bool)
        held = subset(source, np.flatnonzero(mask))
        sides.append((without_repeats(subset(source, np.flatnonzero(~mask)), held, group), held))
    return sides
