"""Trials on features with a known answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

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


def scene(rng, height=24, width=48):
    """A picture of three textures, and which lies where; 255 at the left margin."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, int(rng.integers(width // 4, width // 2)) :] = 1
    mask[int(rng.integers(height // 3, 2 * height // 3)) :] = 2
    means = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
    picture = means[mask] + rng.normal(0, 25, (height, width, 3))
    mask[:, :4] = 255
    return picture.clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Pictures of three textures in CamVid's layout, with their masks."""
    root, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 12)):
        for folder in (part, f"{part}annot"):
            (root / folder).mkdir()
        for number in range(count):
            picture, mask = scene(rng)
            Image.fromarray(picture).save(root / part / f"{number:02}.png")
            Image.fromarray(mask).save(root / f"{part}annot" / f"{number:02}.png")
    return root
