"""Sources of images, the canvas they share, and the two lanes that fill it."""

from selfsight.data.arrays import ArraySource, digits
from selfsight.data.canvas import Canvas, full_canvas, pad_together
from selfsight.data.checks import BadImages
from selfsight.data.contents import identity
from selfsight.data.datasets import DatasetSource
from selfsight.data.decoding import UnreadableImage
from selfsight.data.folder import FolderSource
from selfsight.data.labels import encode_labels, numeric_metadata
from selfsight.data.lanes import Lane, ResidentLane, StreamingLane, open_lane
from selfsight.data.opening import open_source, splits
from selfsight.data.ranges import as_trained
from selfsight.data.sizes import choose_size
from selfsight.data.sources import (
    Source,
    seeded_sample,
    subset,
)
from selfsight.data.statistics import mean_and_std
from selfsight.data.subsets import split_at_random
from selfsight.data.table import TableSource

__all__ = [
    "ArraySource",
    "BadImages",
    "Canvas",
    "DatasetSource",
    "FolderSource",
    "Lane",
    "ResidentLane",
    "Source",
    "StreamingLane",
    "TableSource",
    "UnreadableImage",
    "as_trained",
    "choose_size",
    "digits",
    "encode_labels",
    "full_canvas",
    "identity",
    "mean_and_std",
    "numeric_metadata",
    "open_lane",
    "open_source",
    "pad_together",
    "seeded_sample",
    "split_at_random",
    "splits",
    "subset",
]
