"""Subsets that keep the share of each label."""

from __future__ import annotations

import numpy as np
import pytest

from selfsight.data import ArraySource, open_source
from selfsight.data.subsets import limited, stratified_order


@pytest.mark.parametrize("sizes", [(50, 50), (90, 9, 1), (7, 7, 7, 7), (1, 1, 1)])
def test_every_prefix_keeps_the_shares(sizes):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    order = stratified_order(labels, seed=0)
    assert sorted(order) == list(range(len(labels)))
    for length in range(len(labels) + 1):
        counts = np.bincount(labels[order[:length]], minlength=len(sizes))
        assert (np.abs(counts - length * np.array(sizes) / len(labels)) <= len(sizes) / 2).all()


def test_the_seed_decides():
    labels = np.repeat(np.arange(4), 25)
    assert (stratified_order(labels, 0) == stratified_order(labels, 0)).all()
    assert (stratified_order(labels, 0) != stratified_order(labels, 1)).any()
    assert sorted(stratified_order(labels, 0)[:4]) != sorted(stratified_order(labels, 1)[:4])


def test_limited():
    digits = open_source("digits")
    hundred, thirty = limited(digits, 100, seed=3), limited(digits, 30, seed=3)
    assert len(hundred) == 100 and np.bincount(hundred.labels).tolist() == [10] * 10
    pixels = {hundred.read(index).numpy().tobytes() for index in range(100)}
    assert all(thirty.read(index).numpy().tobytes() in pixels for index in range(30))
    assert limited(digits, None) is digits and limited(digits, len(digits)) is digits


def test_limited_without_labels():
    source = ArraySource(np.arange(10, dtype=np.uint8).repeat(16).reshape(10, 4, 4))
    values = [int(limited(source, 4, seed=0).read(index).max()) for index in range(4)]
    assert values == sorted(set(values))


def test_bad_limit():
    with pytest.raises(ValueError, match="limit must be at least 1"):
        limited(open_source("digits"), 0)
