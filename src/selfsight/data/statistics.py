"""Mean and standard deviation of the pixels."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import torch

from selfsight.data.decoding import UnreadableImage
from selfsight.data.sources import Source, seeded_sample

log = logging.getLogger(__name__)


def mean_and_std(
    source: Source, seed: int = 0, images: int = 2048, size: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of values mapped to [0, 1], over a seeded sample in which each image counts the same.

    `size` is the short side that images are decoded at. A constant channel has std 1, so that
    one may divide by it. Unreadable images are passed over.
    """
    low, high = source.value_range

    def moments(index: int) -> torch.Tensor | None:
        try:
            pixels = source.read(index, size).flatten(1).to(torch.float64)
        except UnreadableImage as error:
            log.debug("not in the mean: %s", error)
            return None
        scaled = (pixels - low) / (high - low)
        return torch.stack([scaled.mean(1), scaled.square().mean(1)])

    chosen = seeded_sample(len(source), images, seed).tolist()
    with ThreadPoolExecutor(4 if source.thread_safe else 1) as pool:
        rows = [row for row in pool.map(moments, chosen) if row is not None]
    if not rows:
        raise ValueError(f"no readable image among {len(chosen)} of {source.name}")
    mean, square = torch.stack(rows).mean(0)
    std = (square - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
