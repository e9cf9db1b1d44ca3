"""Seeded subsets of a source that keep the share of each label."""

from __future__ import annotations

import numpy as np

from selfsight.data.sources import Source, subset


def limited(source: Source, limit: int | None, seed: int = 0) -> Source:
    """At most `limit` images of `source`, drawn by `seed`, in the source's order.

    Labels keep their shares where there are labels. A smaller limit draws from the larger one's images.
    """
    if limit is None or limit >= len(source):
        return source
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}: leave it out to take all images")
    labels = np.zeros(len(source)) if source.labels is None else source.labels
    return subset(source, np.sort(stratified_order(labels, seed)[:limit]))


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
