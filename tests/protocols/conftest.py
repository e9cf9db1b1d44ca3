"""Trials on features with a known answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from selfsight.data import ArraySource, subset
from selfsight.probes.store import FeatureStore
from selfsight.protocols.base import Trial


class Made(FeatureStore):
    """Features that a test hands over, by the name of the source."""

    def __init__(self, features):
        self.made = features

    def expect(self, source):
        pass

    def readable(self, source, features=True):
        return np.ones(len(source), dtype=bool)

    def features(self, source):
        rows = torch.tensor(source.metadata["row"].to_numpy(np.int64))
        return {name: some[rows] for name, some in self.made.items()}


def trial_of(features, columns, test, seed=0, group=None):
    """A trial whose images have these features, by row, and these columns; `test` says which are tested on."""
    count = len(next(iter(features.values())))
    images = np.arange(count * 12, dtype=np.uint8).reshape(count, 2, 2, 3)
    source = ArraySource(images, pd.DataFrame({**columns, "row": np.arange(count)}))
    test = np.asarray(test)
    sides = (subset(source, np.flatnonzero(~test)), subset(source, np.flatnonzero(test)))
    return Trial(*sides, Made(features), {name: name for name in features}, seed, group)


@pytest.fixture
def trial():
    """Three classes, far apart in "told" and absent in "noise"; a number and a site beside them."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 240)
    centres = 8 * rng.standard_normal((3, 10))
    told = torch.from_numpy((centres[label] + rng.standard_normal((240, 10))).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal((240, 10)).astype(np.float32))
    columns = {
        "label": label,
        "age": 40 + 5 * told[:, 0].numpy() + rng.standard_normal(240),
        "site": np.array(["here", "there"])[(told[:, 1] > 0).numpy().astype(int)],
        "patient": np.arange(240) // 3,
        "red": (label == 0).astype(int),
        "blue": (label == 1).astype(int),
        "tags": ["a" if one == 0 else "b,c" if one == 1 else "c" for one in label],
    }
    return trial_of({"told": told, "noise": noise}, columns, np.arange(240) % 2 == 1)


@pytest.fixture
def make_trial():
    """`trial_of`, for trials of a test's own."""
    return trial_of
