"""Seeded subsets of a source that keep the share of each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from selfsight.data.sources import Source


def limited(source: Source, limit: int | None, seed: int = 0) -> Source:
    """At most `limit` images of `source`, drawn by `seed`, in the source's order.

    Labels keep their shares where there are labels. A smaller limit draws from the larger one's images.
    """
    from selfsight.data.sources import subset

    if limit is None or limit >= len(source):
        return source
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    return subset(source, np.sort(stratified_order(labels_of(source), seed)[:limit]))


def split_off(source: Source, share: float, seed: int = 0) -> tuple[Source, Source]:
    """Two sources: the rest, and a seeded `share` of the images that keeps the shares of the labels."""
    from selfsight.data.sources import subset

    order = stratified_order(labels_of(source), seed)
    count = max(1, round(share * len(source)))
    return subset(source, np.sort(order[count:])), subset(source, np.sort(order[:count]))


def labels_of(source: Source) -> np.ndarray:
    """The class code of each image `(N,)`, -1 where it is missing or the source has no labels."""
    if "label" not in source.metadata:
        return np.full(len(source), -1)
    return source.metadata["label"].to_numpy()


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
