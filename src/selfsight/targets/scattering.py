"""Two-dimensional scattering transform of second order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsight.precision import full_precision

PIXELS_AT_ONCE = {"cpu": 2**14, "cuda": 2**21}
"""By kind of device: on a CPU what its cache holds, elsewhere a gigabyte of second-order coefficients."""


@dataclass(frozen=True)
class FilterBank:
    """Filters for images padded to `(H, W)`, all on one device in float32.

    wavelets: by scale `j` and resolution `r <= j`, complex spectra `(L, H / 2**r, W / 2**r)`,
        divided by the `4**(j - r)` that keeping every `2**(j - r)`-th sample asks for.
    averages: by resolution `r`, matrices from `H / 2**r` rows, and from `W / 2**r` columns, to
        the smoothed, subsampled and cropped ones of the answer.
    """

    wavelets: dict[tuple[int, int], Tensor]
    averages: dict[int, tuple[Tensor, Tensor]]


class Scattering(nn.Module):
    """The scattering transform as a module without parameters; see `scattering`."""

    def __init__(self, J: int = 2, L: int = 8):
        super().__init__()
        self.J, self.L = J, L

    def forward(self, images: Tensor) -> Tensor:
        return scattering(images, self.J, self.L)

    def extra_repr(self) -> str:
        return f"J={self.J}, L={self.L}"


@full_precision
def scattering(images: Tensor, J: int = 2, L: int = 8) -> Tensor:
    """Scattering coefficients `(B, C, 1 + J L + L**2 J (J - 1) / 2, H // 2**J, W // 2**J)`.

    images: `(B, C, H, W)`, sides above `2**J`. `J` scales, `L` orientations, float32. Order of
    channels: the average; the first order, scale by scale, within one by orientation; the
    second, for each first-order channel the coarser ones in the same order.

    Bruna, Mallat: Invariant scattering convolution networks (2013); filters and padding as in kymatio.
    """
    batch, channels, height, width = images.shape
    if min(height, width) <= 2**J:  # the reflection would be wider than the image
        raise ValueError(f"images of {height} x {width} pixels are too small: a side needs {2**J + 1} for J={J}")
    bank = filter_bank(height, width, J, L, images.device)
    pixels = PIXELS_AT_ONCE.get(images.device.type, PIXELS_AT_ONCE["cuda"])
    chunks = images.flatten(0, 1).float().split(max(1, pixels // (height * width)))
    return torch.cat([_scatter(_pad(chunk, J), bank, J) for chunk in chunks]).unflatten(0, (batch, channels))


def _scatter(planes: Tensor, bank: FilterBank, J: int) -> Tensor:
    """Coefficients `(N, K, h, w)` of padded planes `(N, H, W)`."""
    first, second = [], []
    spectrum = torch.fft.fft2(planes)
    for j in range(J):
        moduli = _modulus(spectrum[:, None], bank.wavelets[j, 0], j)
        first.append(_average(moduli, bank.averages[j]))
        if j + 1 == J:
            break
        spectra = torch.fft.fft2(moduli)[:, :, None]
        coarser = [_average(_modulus(spectra, bank.wavelets[k, j], k - j), bank.averages[k]) for k in range(j + 1, J)]
        second.append(torch.cat(coarser, 2).flatten(1, 2))
    return torch.cat([_average(planes[:, None], bank.averages[0]), *first, *second], 1)


def _modulus(spectra: Tensor, wavelets: Tensor, halvings: int) -> Tensor:
    """`|x * psi|` on a grid `2**halvings` times coarser; the broadcast of both shapes.

    Where every second sample is kept, the halves of the spectrum add up.
    """
    (first, wavelet), *others = zip(_tiles(spectra, 2**halvings), _tiles(wavelets, 2**halvings), strict=True)
    folded = first * wavelet
    for tile, wavelet in others:
        folded = torch.addcmul(folded, tile, wavelet)
    filtered = torch.fft.ifft2(folded)
    # A third of the time of `abs` on a CPU; the clamp keeps the slope at 0 finite.
    return torch.addcmul(filtered.real.square(), filtered.imag, filtered.imag).clamp(min=1e-30).sqrt()


def _tiles(spectra: Tensor, count: int) -> list[Tensor]:
    return [tile for band in spectra.chunk(count, -2) for tile in band.chunk(count, -1)]


def _average(planes: Tensor, matrices: tuple[Tensor, Tensor]) -> Tensor:
    rows, columns = matrices
    return rows @ planes @ columns.T


def _pad(planes: Tensor, J: int) -> Tensor:
    """Planes reflected on all sides to multiples of `2**J`, at least `2**J` beyond their size."""
    height, width = planes.shape[-2:]
    top, bottom = _margins(height, J)
    left, right = _margins(width, J)
    return F.pad(planes, (left, right, top, bottom), mode="reflect")


def _margins(size: int, J: int) -> tuple[int, int]:
    total = _padded(size, J) - size
    return total // 2, total - total // 2


def _padded(size: int, J: int) -> int:
    return (size // 2**J + 2) * 2**J


@lru_cache(maxsize=16)
def filter_bank(height: int, width: int, J: int, L: int, device: torch.device) -> FilterBank:
    """Filters for images of `height` x `width` pixels, built once in float64."""
    shape = _padded(height, J), _padded(width, J)
    with torch.inference_mode(False), torch.no_grad():
        full = [torch.stack([_morlet_spectrum(shape, j, _angle(k, L), 4 / L) for k in range(L)]) for j in range(J)]
        wavelets = {
            (j, r): (_low_frequencies(full[j], r) / 4 ** (j - r)).to(device, torch.complex64)
            for j in range(J)
            for r in range(j + 1)
        }
        rows, columns = ([_averaging(size, r, J).float().to(device) for r in range(J)] for size in shape)
    return FilterBank(wavelets, dict(enumerate(zip(rows, columns, strict=True))))


def _angle(k: int, L: int) -> float:
    return (L - L // 2 - 1 - k) * math.pi / L


def _morlet_spectrum(shape: tuple[int, int], j: int, angle: float, slant: float) -> Tensor:
    """Spectrum of a Morlet wavelet of scale `2**j`: real, and 0 at frequency 0."""
    sigma, frequency = 0.8 * 2**j, 0.75 * math.pi / 2**j
    wave, envelope = (_gabor_spectrum(shape, sigma, angle, centre, slant) for centre in (frequency, 0.0))
    return wave - wave[0, 0] / envelope[0, 0] * envelope


def _gabor_spectrum(shape: tuple[int, int], sigma: float, angle: float, frequency: float, slant: float) -> Tensor:
    """Spectrum of a plane wave under a Gaussian of mass 1, `sigma` along the wave and
    `sigma / slant` across it, sampled at pixels: a Gaussian again, and its aliases."""
    y, x = (_frequencies_and_aliases(size) for size in shape)
    y = y[:, :, None, None]
    along = y * math.cos(angle) + x * math.sin(angle)
    across = x * math.cos(angle) - y * math.sin(angle)
    exponent = -(sigma**2) / 2 * ((along - frequency) ** 2 + (across / slant) ** 2)
    return exponent.exp().sum((0, 2))


def _frequencies_and_aliases(size: int) -> Tensor:
    """Angular frequencies `(5, size)` of a discrete Fourier transform, each row another period."""
    periods = torch.arange(-2, 3, dtype=torch.float64)
    return 2 * math.pi * (torch.fft.fftfreq(size, dtype=torch.float64) + periods[:, None])


def _low_frequencies(spectra: Tensor, halvings: int) -> Tensor:
    """The part of spectra `(..., H, W)` that a grid `2**halvings` times coarser can hold."""
    for dim in (-2, -1):
        size = spectra.shape[dim] >> halvings
        kept = torch.fft.fftfreq(size, 1 / size).long() % spectra.shape[dim]
        spectra = spectra.index_select(dim, kept)
    return spectra


def _averaging(size: int, resolution: int, J: int) -> Tensor:
    """Matrix from `size / 2**resolution` samples to every `2**J`-th pixel smoothed by a Gaussian
    of `0.8 * 2**(J - 1)` pixels, the margin left out. The Gaussian is separable, so that rows and
    columns take a small matrix each instead of Fourier transforms."""
    sigma = 0.8 * 2 ** (J - 1)
    spectrum = (-((sigma * _frequencies_and_aliases(size)) ** 2) / 2).exp().sum(0)
    coarse = size >> resolution
    kept = torch.fft.fftfreq(coarse, 1 / coarse).long() % size
    kernel = torch.fft.ifft(spectrum[kept]).real
    outputs = torch.arange(0, coarse, 2 ** (J - resolution))[1:-1]
    return kernel[(outputs[:, None] - torch.arange(coarse)) % coarse]
