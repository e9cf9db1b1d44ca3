"""Features of every image that is asked about, read once for all protocols, and kept on disk where one wishes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from selfsight.data import Source, identity, subset
from selfsight.data.sources import Subset
from selfsight.nets import digest
from selfsight.outputs import check_output, write_atomically
from selfsight.probes.features import Function, Reader
from selfsight.probes.subjects import as_encoder_reads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """What answers a row's features: a function of views, and how views are made for it.

    key: tells it from any other, on disk; the digest of its weights and how they are read.
    """

    function: Function
    reader: Reader
    key: str


@dataclass
class Kept:
    """Features of some images of a source: their positions `(N,)`, which of them could be read, and `(N, D)` by row."""

    places: np.ndarray
    readable: np.ndarray
    features: dict[str, Tensor]


class FeatureStore:
    """Features by row, of sources and of their subsets.

    `expect` says which images will be asked for, so that one pass serves all. cache: a folder for them, or None.
    """

    def __init__(self, reads: Mapping[str, Read], cache: Path | None = None):
        self.reads = dict(reads)
        self.cache = cache
        self._expected: dict[int, tuple[Source, np.ndarray]] = {}
        self._kept: dict[int, Kept] = {}
        if cache is not None:
            check_output(cache / "features.safetensors", overwrite=True)

    def expect(self, source: Source) -> None:
        """These images will be asked for."""
        root, places = origin(source)
        before = self._expected.get(id(root), (root, np.array([], dtype=np.int64)))[1]
        self._expected[id(root)] = root, np.union1d(before, places)

    def readable(self, source: Source, features: bool = True) -> np.ndarray:
        """Which images can be read `(N,)`; features of all that are expected are extracted before, where they are
        wanted."""
        root, places = origin(source)
        kept = self._kept.get(id(root))
        if not features and (kept is None or not np.isin(places, kept.places).all()):
            reader = next(iter(self.reads.values())).reader
            return np.isin(np.arange(len(source)), reader({}, as_encoder_reads(source, reader.spec))[1].numpy())
        kept = self._of(root, places)
        return kept.readable[np.searchsorted(kept.places, places)]

    def features(self, source: Source) -> dict[str, Tensor]:
        """Features by row, `(N, D)` float32 on the CPU, of images that can all be read."""
        root, places = origin(source)
        kept = self._of(root, places)
        rows = np.searchsorted(kept.places, places)
        assert kept.readable[rows].all(), "leave out what cannot be read first"
        return {name: found[rows] for name, found in kept.features.items()}

    def _of(self, root: Source, places: np.ndarray) -> Kept:
        kept = self._kept.get(id(root))
        if kept is None or not np.isin(places, kept.places).all():
            self.expect(subset(root, places))
            self._kept[id(root)] = kept = self._extract(*self._expected[id(root)])
        return kept

    def _extract(self, root: Source, places: np.ndarray) -> Kept:
        """By one pass over the images for all rows that see the same views."""
        source = root if len(places) == len(root) else subset(root, places)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        missing: dict[str, dict[str, Read]] = {}
        for row, read in self.reads.items():
            file = self._file(source, read)
            if file is not None and file.is_file():
                with safe_open(file, "pt") as tensors:
                    found[row] = tensors.get_tensor("features"), tensors.get_tensor("index")
            else:
                missing.setdefault(read.reader.key, {})[row] = read
        for together in missing.values():
            reader = next(iter(together.values())).reader
            images = as_encoder_reads(source, reader.spec)
            features, index = reader({row: read.function for row, read in together.items()}, images)
            for row, read in together.items():
                found[row] = features[row].flatten(1), index
                file = self._file(source, read)
                if file is not None:
                    write_atomically(file, save({"features": found[row][0].contiguous(), "index": index}))
        readable = np.ones(len(source), dtype=bool)
        for _, index in found.values():
            readable &= np.isin(np.arange(len(source)), index.numpy())
        if not readable.all():
            log.warning("%d images of %s cannot be read and are left out", (~readable).sum(), source.name)
        features = {}
        for row in self.reads:
            values, index = found[row]
            features[row] = values.new_full((len(source), values.shape[1]), torch.nan)
            features[row][index] = values
        return Kept(places, readable, features)

    def _file(self, source: Source, read: Read) -> Path | None:
        if self.cache is None:
            return None
        key = f"{identity(source)} {source.value_range} {read.reader.key} {read.key}"
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"


def origin(source: Source) -> tuple[Source, np.ndarray]:
    """The source of which this one is a subset, and the positions `(N,)` there."""
    places = np.arange(len(source))
    while isinstance(source, Subset):
        places, source = source.indices[places], source.source
    return source, places


def read_key(function: Function, how: str) -> str:
    """What tells a row's features from any others': its weights, and which of its features they are."""
    return f"{digest(function)} {how}" if isinstance(function, nn.Module) else how
