"""Random changes of pixels in [0, 1]: `sample` draws for each image, `apply` follows the draw.

Parameters are drawn on the generator's device, which should be the CPU: they are few, and the
order of colour operations is read by the host. `sample(n, generator)` answers a dictionary of
tensors with leading size `n`; an image that is left as it is has a neutral parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from selfsight.views import adjust
from selfsight.views.chance import happens, uniform

Parameters = dict[str, Any]


class Colour(Protocol):
    """A random change of pixels. `apply` may write to the pixels that it is given."""

    def sample(self, n: int, generator: torch.Generator) -> Parameters: ...

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor: ...


def rows(parameters: Parameters, part: slice) -> Parameters:
    """The parameters of some images; what holds for the whole batch stays."""
    return {name: value[part] if isinstance(value, Tensor) else value for name, value in parameters.items()}


def to_device(parameters: Parameters, device: torch.device) -> Parameters:
    """The parameters on another device."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in parameters.items()}


def where_chosen(x: Tensor, parameters: Parameters, function: Callable[..., Tensor]) -> Tensor:
    """`function(x, **others, out=...)` where the parameter `chosen` is true, else `x`.

    out: where `function` may write its result, if it likes to; or None.
    """
    others = dict(parameters)
    chosen = others.pop("chosen")
    if x.device.type == "cpu":  # no queue to hold up: work on the chosen images alone
        index = chosen.nonzero().squeeze(1)
        if not len(index):
            return x
        if len(index) == len(x):
            return function(x, **others, out=x).contiguous()  # grey has one channel thrice
        part = x[index]
        return x.index_copy_(0, index, function(part, **{name: v[index] for name, v in others.items()}, out=part))
    return torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), function(x, **others, out=None), x)


@dataclass(frozen=True)
class ColourJitter:
    """Brightness, contrast, saturation and hue by random amounts, with probability `p`.

    Factors are uniform in [max(0, 1 - strength), 1 + strength], the shift of hue in
    [-hue, hue]. The order of the four is drawn once for the batch, not for each image.
    """

    brightness: float = 0.8
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2
    p: float = 0.8

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        parameters: Parameters = {"chosen": happens(n, self.p, generator)}
        for name in ("brightness", "contrast", "saturation"):
            strength = getattr(self, name)
            parameters[name] = uniform((n,), generator, max(0.0, 1 - strength), 1 + strength)
        parameters["hue"] = uniform((n,), generator, -self.hue, self.hue)
        names = ("brightness", "contrast", "saturation", "hue")
        order = torch.randperm(4, generator=generator, device=generator.device)
        parameters["order"] = tuple(names[i] for i in order.tolist() if getattr(self, names[i]) > 0)
        return parameters

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        amounts = dict(parameters)
        order = amounts.pop("order")

        def change(x: Tensor, out: Tensor | None, **amounts: Tensor) -> Tensor:
            for name in order:
                x = getattr(adjust, name)(x, amounts[name], out)
            return x

        return where_chosen(x, amounts, change)


@dataclass(frozen=True)
class Grayscale:
    """Grey in all three channels with probability `p`; other data stays as it is."""

    p: float = 0.2

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"chosen": happens(n, self.p, generator)}

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        return where_chosen(x, parameters, lambda x, out: adjust.grayscale(x))


@dataclass(frozen=True)
class GaussianBlur:
    """Gaussian blur with probability `p`, sigma uniform in `sigma`, in pixels.

    The kernel has a tenth of the image's shortest side, made odd, as in SimCLR and BYOL
    (23 taps at 224 px, 3 at 32 px).
    """

    p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"chosen": happens(n, self.p, generator), "sigma": uniform((n,), generator, *self.sigma)}

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        kernel_size = self.taps(min(x.shape[2:]))
        return where_chosen(x, parameters, lambda x, sigma, out: adjust.gaussian_blur(x, sigma, kernel_size))

    @staticmethod
    def taps(shortest: int) -> int:
        """Of the kernel for an image whose shortest side has so many pixels; 1, below 20, changes nothing."""
        return 2 * (shortest // 10 // 2) + 1


@dataclass(frozen=True)
class Solarize:
    """Pixels of at least `threshold` inverted, with probability `p`."""

    p: float = 0.2
    threshold: float = 0.5

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        return {"chosen": happens(n, self.p, generator)}

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        threshold = x.new_full((), self.threshold)
        return where_chosen(x, parameters, lambda x, out: adjust.solarize(x, threshold))


@dataclass(frozen=True)
class Noise:
    """Gaussian noise with probability `p`, its standard deviation uniform in `sigma`.

    Each image draws a seed, and a pixel's noise is a function of seed and position: the same
    on every device and however the batch is cut.
    """

    p: float = 0.5
    sigma: tuple[float, float] = (0.0, 0.1)

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        sigma = torch.where(happens(n, self.p, generator), uniform((n,), generator, *self.sigma), 0.0)
        return {"sigma": sigma, "seed": torch.randint(2**31, (n,), generator=generator, device=generator.device)}

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        noise = adjust.seeded_normal(parameters["seed"], x[0].numel()).view_as(x)
        return (x + noise * parameters["sigma"].view(-1, *[1] * (x.ndim - 1))).clamp_(0, 1)


@dataclass(frozen=True)
class Cutout:
    """A box of the image filled with `fill`, with probability `p`.

    The box has the image's shape and an area uniform in `scale`, and lies inside the image.
    DeVries, Taylor: Improved Regularization of Convolutional Neural Networks with Cutout (2017).
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    fill: float = 0.5

    def sample(self, n: int, generator: torch.Generator) -> Parameters:
        area = torch.where(happens(n, self.p, generator), uniform((n,), generator, *self.scale), 0.0)
        return {"area": area, "corner": uniform((n, 3), generator)}

    def apply(self, x: Tensor, parameters: Parameters) -> Tensor:
        side = parameters["area"] ** (1 / (x.ndim - 2))
        hole = (side > 0).view(-1, *[1] * (x.ndim - 1))
        for axis, length in enumerate(x.shape[2:]):
            size = (side * length).round()
            start = (parameters["corner"][:, axis] * (length - size)).round()[:, None]
            pixel = torch.arange(length, device=x.device)
            within = (pixel >= start) & (pixel < start + size[:, None])
            shape = [1] * (x.ndim - 2)
            shape[axis] = length
            hole = hole & within.view(-1, 1, *shape)
        return torch.where(hole, self.fill, x)
