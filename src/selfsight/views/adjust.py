"""Adjust pixels in [0, 1] by given amounts: pure functions, equal to torchvision's functional.

Images are `(n, C, *S)` in two or three dimensions; amounts are `(n,)`, one for each image. Some write their
result to `out` where that is given, which may be the images themselves.
Saturation, hue and grey are defined for three channels. They leave a fourth, which is alpha, as it is,
and other data altogether.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsight.views.resample import Taps, multiply_axes, read_taps

LUMA = (0.2989, 0.587, 0.114)
TINY = 1e-30
NEGLIGIBLE = 1e-8  # beside 1 in single precision


def brightness(x: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Pixels times `factor`."""
    return torch.mul(x, _each(factor, x), out=out).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Pixels' distance from the image's mean grey level times `factor`."""
    mean = luma(x).mean(-1).flatten(1).mean(1)  # of rows first: one sum over an image would follow the threads
    return torch.mul(x, _each(factor, x), out=out).add_(_each(mean * (1 - factor), x)).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor, out: Tensor | None = None) -> Tensor:
    """Pixels' distance from their own grey level times `factor`."""
    if x.shape[1] == 4:
        return torch.cat([saturation(x[:, :3], factor), x[:, 3:]], 1)
    if x.shape[1] != 3:
        return x
    factor = _each(factor, x)
    grey = luma(x).mul_(1 - factor)
    return torch.mul(x, factor, out=out).add_(grey).clamp_(0, 1)


def hue(x: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
    """Hue turned by `shift` in [-0.5, 0.5], a fraction of the colour circle.

    Exact, and without the way to HSV and back: turning the hue keeps an image's largest and
    smallest channel, so only the way along the colour hexagon is needed. From red it measures
    `2a + |a - |green - blue||` sixths of the circle in units of the chroma, where `a` is the
    largest channel minus red, towards green or blue by the sign of their difference.
    """
    if x.shape[1] == 4:
        return torch.cat([hue(x[:, :3], shift), x[:, 3:]], 1)
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    bottom = torch.minimum(torch.minimum(red, green), blue)
    chroma = top - bottom
    circle = 6 * chroma
    below, difference = top - red, green - blue
    way = (below - difference.abs()).abs_().add_(below, alpha=2)
    angle = way.copysign_(difference).div_(circle.clamp_min(TINY))
    angle = angle.add_(1 + shift.view(-1, *[1] * (x.ndim - 2))).frac_()
    turned = torch.empty_like(x) if out is None else out
    torch.addcmul(bottom - chroma, circle, (angle - 1 / 2).abs_().clamp_(1 / 6, 2 / 6), out=turned[:, 0])
    peak = torch.add(bottom, chroma, alpha=2)
    torch.addcmul(peak, circle, (angle - 1 / 3).abs_().clamp_(1 / 6, 2 / 6), value=-1, out=turned[:, 1])
    torch.addcmul(peak, circle, (angle - 2 / 3).abs_().clamp_(1 / 6, 2 / 6), value=-1, out=turned[:, 2])
    return turned


def luma(x: Tensor) -> Tensor:
    """Grey level `(n, 1, *S)`; of other data than three channels, all of it `(n, C, *S)`."""
    if x.shape[1] != 3:
        return x
    red, green, blue = x.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def grayscale(x: Tensor) -> Tensor:
    """Grey in all three channels."""
    if x.shape[1] == 4:
        return torch.cat([grayscale(x[:, :3]), x[:, 3:]], 1)
    return luma(x).expand_as(x)


def solarize(x: Tensor, threshold: Tensor) -> Tensor:
    """Pixels of at least `threshold` inverted."""
    return torch.where(x >= _each(threshold, x), 1 - x, x)


def gaussian_blur(x: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Separable Gaussian blur of `kernel_size` (odd) taps, borders reflected; sigma in pixels."""
    shortest = min(x.shape[2:])
    if kernel_size // 2 >= shortest:
        raise ValueError(
            f"a blur of {kernel_size} taps does not fit {shortest} pixels: use a larger view or a smaller kernel"
        )
    if kernel_size == 1:
        return x
    kernel = gaussian(sigma, kernel_size)
    if x.device.type == "cpu":
        taps = {length: kernel_taps(kernel, length) for length in set(x.shape[2:])}
        return read_taps(x, [taps[length] for length in x.shape[2:]])
    return multiply_axes(x, [kernel_matrix(kernel, length) for length in x.shape[2:]])


def gaussian(sigma: Tensor, taps: int) -> Tensor:
    """Kernels `(n, taps)` that sum to 1, without what is negligible: denormal numbers slow products down by far."""
    position = torch.arange(taps, device=sigma.device) - taps // 2
    kernel = F.threshold(torch.exp(-0.5 * (position / sigma[:, None]) ** 2), NEGLIGIBLE, 0)
    return kernel / kernel.sum(1, keepdim=True)


def kernel_taps(kernel: Tensor, length: int) -> Taps:
    """Taps that convolve `length` pixels with `kernel` `(n, odd)`, borders reflected; for the CPU, since it waits."""
    n, size = kernel.shape
    radius = int((kernel > 0).sum(1).max()) // 2
    kernel = kernel[:, size // 2 - radius : size // 2 + radius + 1]
    tap = torch.arange(-radius, radius + 1, dtype=torch.int32)
    index = (torch.arange(length, dtype=torch.int32)[:, None] + tap).abs_()
    index = (length - 1) - (length - 1 - index).abs_()
    return Taps(index.expand(n, -1, -1), kernel[:, None].expand(-1, length, -1))


def kernel_matrix(kernel: Tensor, length: int) -> Tensor:
    """`(n, length, length)` matrices that convolve with `kernel` `(n, odd)`, borders reflected."""
    n, taps = kernel.shape
    radius, wide = taps // 2, length + taps - 1
    # a row of the kernel and zeros, one longer than the matrix is wide: each next row moves by one
    matrix = kernel.new_zeros(n, length * (wide + 1))
    matrix.view(n, length, wide + 1)[:, :, :taps] = kernel[:, None]
    matrix = matrix[:, : length * wide].view(n, length, wide)
    inside = matrix[:, :, radius : radius + length].clone()
    inside[:, :, 1 : radius + 1] += matrix[:, :, :radius].flip(-1)
    inside[:, :, length - 1 - radius : length - 1] += matrix[:, :, radius + length :].flip(-1)
    return inside


def normalise(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...], out: Tensor | None = None) -> Tensor:
    """Pixels minus `mean` over `std`, per channel; written to `out` where that is given."""
    shape = (-1, *[1] * (x.ndim - 2))
    scale = 1 / x.new_tensor(std).view(shape)
    return torch.mul(x, scale, out=out).sub_(x.new_tensor(mean).view(shape) * scale)


def _each(amount: Tensor, x: Tensor) -> Tensor:
    return amount.view(-1, *[1] * (x.ndim - 1))


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
