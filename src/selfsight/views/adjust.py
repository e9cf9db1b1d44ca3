"""Adjust pixels in [0, 1] by given amounts: pure functions, equal to torchvision's functional.

Images are `(n, C, *S)` in two or three dimensions; amounts are `(n,)`, one for each image.
Saturation, hue and grey are defined for three channels and leave other data as it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Pixels times `factor`."""
    return (x * _each(factor, x)).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Pixels' distance from the image's mean grey level times `factor`."""
    mean = luma(x).flatten(1).mean(1)
    return torch.lerp(_each(mean, x), x, _each(factor, x)).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Pixels' distance from their own grey level times `factor`."""
    if x.shape[1] != 3:
        return x
    return torch.lerp(luma(x), x, _each(factor, x)).clamp_(0, 1)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by `shift` in [-0.5, 0.5], a fraction of the colour circle.

    Exact, and without the way to HSV and back. Turning the hue keeps the largest and the
    smallest channel. With hue `h` measured in units of a sixth times the chroma, red at 0,
    green at 2 and blue at -2, a channel falls from the largest to the smallest value as `h`
    goes from 1 to 2 chromas away from it.
    """
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    chroma = top - torch.minimum(torch.minimum(red, green), blue)
    near_green = (blue - red).add_(chroma, alpha=2)
    near_blue = (red - green).sub_(chroma, alpha=2)
    h = torch.where(top == red, green - blue, torch.where(top == green, near_green, near_blue))
    h = h.addcmul_(chroma, 6 * shift.view(-1, *[1] * (x.ndim - 2)))
    turn = 6 * chroma
    h = torch.where(h > 3 * chroma, h - turn, torch.where(h < -3 * chroma, h + turn, h))
    away_red = h.abs()
    away_green = 3 * chroma - ((h - 2 * chroma).abs() - 3 * chroma).abs()
    away_blue = 3 * chroma - ((h + 2 * chroma).abs() - 3 * chroma).abs()
    out = torch.stack([away_red, away_green, away_blue], 1).sub_(chroma[:, None])
    out = torch.minimum(out.clamp_min_(0), chroma[:, None])
    return top[:, None] - out


def luma(x: Tensor) -> Tensor:
    """Grey level `(n, 1, *S)`; of other data than three channels, all of it `(n, C, *S)`."""
    if x.shape[1] != 3:
        return x
    red, green, blue = x.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def grayscale(x: Tensor, chosen: Tensor) -> Tensor:
    """Grey where `chosen` `(n,)` is true."""
    if x.shape[1] != 3:
        return x
    return torch.where(_each(chosen, x), luma(x), x)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Pixels of at least `threshold` inverted."""
    return torch.where(x >= _each(threshold, x), 1 - x, x)


def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Separable Gaussian blur of `kernel_size` (odd) taps, borders reflected; sigma in pixels."""
    n, channels, *spatial = x.shape
    radius = kernel_size // 2
    if not radius:
        return x
    taps = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    convolve = F.conv2d if len(spatial) == 2 else F.conv3d
    for axis in range(len(spatial)):
        shape, padding = [1] * len(spatial), [0] * (2 * len(spatial))
        shape[axis] = kernel_size
        padding[2 * (len(spatial) - 1 - axis)] = padding[2 * (len(spatial) - 1 - axis) + 1] = radius
        padded = F.pad(x, padding, mode="reflect").reshape(1, n * channels, *_grown(spatial, axis, radius))
        x = convolve(padded, kernel.view(-1, 1, *shape), groups=n * channels).reshape(n, channels, *spatial)
    return x


def normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels minus `mean` over `std`, per channel."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    return (x - x.new_tensor(mean).view(shape)) / x.new_tensor(std).view(shape)


def _each(amount: Tensor, x: Tensor) -> Tensor:
    return amount.view(-1, *[1] * (x.ndim - 1))


def _grown(spatial: list[int], axis: int, radius: int) -> list[int]:
    return [size + 2 * radius * (i == axis) for i, size in enumerate(spatial)]


def seeded_normal(seed: Tensor, count: int) -> Tensor:
    """`(n, count)` standard normal numbers that are a function of `seed` `(n,)` int64 alone."""
    position = torch.arange(2 * count, device=seed.device)
    bits = _scramble(_scramble(seed)[:, None] ^ position)
    first, second = ((bits.view(-1, 2, count) & 0xFFFFFF).float() + 0.5).mul_(2.0**-24).unbind(1)
    return (-2 * first.log()).sqrt_().mul_(torch.cos(second * (2 * torch.pi)))


def _scramble(x: Tensor) -> Tensor:
    # the finaliser of MurmurHash3, 32 bits in int64 so that products do not overflow the sign
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B) & 0xFFFFFFFF
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)
