"""Mean and standard deviation of the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from selfsight.data.decoding import UnreadableImage
from selfsight.data.reading import read_each
from selfsight.data.sources import Source, seeded_sample
from selfsight.progress import track


def mean_and_std(
    source: Source, seed: int = 0, images: int = 2048, size: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per channel, of values mapped to [0, 1], over a seeded sample in which each image counts the same.

    `size` is the short side that images are decoded at. A constant channel has std 1, so that
    one may divide by it. Unreadable images are passed over: the lane names them.
    """
    low, high = source.value_range
    chosen = seeded_sample(len(source), images, seed).tolist()
    looked_at = track(read_each(source, chosen, size), len(chosen), f"mean and std of {source.name}")
    rows = [moments(image) for image in looked_at if not isinstance(image, UnreadableImage)]
    if not rows:
        raise ValueError(f"no readable image among {len(chosen)} of {source.name}")
    mean, square = torch.stack(rows).mean(0)
    std = (square - mean.square()).clamp(min=0).sqrt() / (high - low)
    mean = (mean - low) / (high - low)
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-6, std, 1.0).tolist())


def moments(image: Tensor) -> Tensor:
    """Mean and mean square of each channel, `(2, C)` in float64."""
    variance, mean = (
        moment.to(torch.float64) for moment in torch.var_mean(image.flatten(1).to(torch.float32), dim=1, correction=0)
    )
    return torch.stack([mean, variance + mean.square()])
