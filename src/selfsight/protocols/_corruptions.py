"""What happens to images outside of the laboratory, in five strengths, for views `(B, C, *S)` in [0, 1].

Constants are those of ImageNet-C (Hendrycks, Dietterich: Benchmarking Neural Network Robustness, ICLR 2019). A blur is
as wide as there at 224 px and as in CIFAR-10-C at 32 px, in between by interpolation.
"""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from selfsight.nets import EncoderSpec
from selfsight.probes.features import Function
from selfsight.views import draws
from selfsight.views.adjust import gaussian_blur

KINDS = ("blur", "noise", "jpeg", "brightness", "contrast")
STRENGTHS = (1, 2, 3, 4, 5)
BLUR = {32: (0.4, 0.6, 0.7, 0.8, 1.0), 224: (1.0, 2.0, 3.0, 4.0, 6.0)}  # standard deviation in pixels, by size
NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)
JPEG = (25, 18, 15, 10, 7)
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)


def corrupted(x: Tensor, kind: str, strength: int, seed: int = 0) -> Tensor:
    """The views under one corruption, in [0, 1]. What is random follows from `seed` and an image's own pixels."""
    place = strength - 1
    if kind == "blur":
        shortest = min(x.shape[2:])
        sigma = blur_width(shortest, place)
        reach = min(math.ceil(4 * sigma), shortest - 1)
        return gaussian_blur(x, x.new_full((len(x),), sigma), 2 * reach + 1).clamp(0, 1)
    if kind == "noise":
        noise = draws.normal(draws.seeds(seed, contents(x)), tuple(x.shape[1:]), stream=strength)
        return (x + NOISE[place] * noise).clamp(0, 1)
    if kind == "jpeg":
        return torch.stack([as_jpeg(one, JPEG[place]) for one in x.cpu()]).to(x)
    if kind == "brightness":
        return brighter(x, BRIGHTNESS[place])
    mean = x.flatten(2).mean(dim=2).view(*x.shape[:2], *[1] * (x.ndim - 2))
    return ((x - mean) * CONTRAST[place] + mean).clamp(0, 1)


def blur_width(side: int, place: int) -> float:
    """Standard deviation of a blur in pixels, for images of so many pixels a side."""
    sizes = sorted(BLUR)
    return float(np.interp(side, sizes, [BLUR[size][place] for size in sizes])) * max(1.0, side / sizes[-1])


def contents(x: Tensor) -> Tensor:
    """A number `(B,)` int64 that tells images apart, whatever batch they are in."""
    levels = (x.flatten(1) * 255).round().to(torch.int64) + 1
    return (levels * torch.arange(1, levels.shape[1] + 1, device=x.device)).sum(dim=1)


def brighter(x: Tensor, amount: float) -> Tensor:
    """Colours whose value in HSV is raised, hue and saturation kept; other channels are raised each."""
    if x.shape[1] != 3:
        return (x + amount).clamp(0, 1)
    value = x.amax(dim=1, keepdim=True)
    raised = (value + amount).clamp_max(1)
    return torch.where(value > 0, x * raised / value.clamp_min(1e-12), raised)


def as_jpeg(x: Tensor, quality: int) -> Tensor:
    """An image `(C, H, W)` of one or three channels after JPEG."""
    levels = (x * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    stream = BytesIO()
    Image.fromarray(levels.squeeze(2) if levels.shape[2] == 1 else levels).save(stream, "JPEG", quality=quality)
    found = np.array(Image.open(stream))
    return torch.from_numpy(found.reshape(levels.shape)).permute(2, 0, 1).float() / 255


class Corrupted(nn.Module):
    """Features of corrupted views: what is normalised for the encoder is brought back to [0, 1] before."""

    mean: Tensor
    std: Tensor

    def __init__(self, function: Function, spec: EncoderSpec, kind: str, strength: int, seed: int):
        super().__init__()
        self.function = function
        self.kind, self.strength, self.seed = kind, strength, seed
        shape = (1, spec.channels, *[1] * spec.dims)
        self.register_buffer("mean", torch.tensor(spec.mean).view(shape))
        self.register_buffer("std", torch.tensor(spec.std).view(shape))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            plain = (x.float() * self.std + self.mean).clamp(0, 1)
            seen = (corrupted(plain, self.kind, self.strength, self.seed) - self.mean) / self.std
        return self.function(seen)
