"""Where a view lies in its image: crops, flips, rotations and shifts, drawn per sample.

A view's pixels are addressed by `o` in [-1, 1] along each axis, an image's by continuous
pixel coordinates from 0 to its extent. A `Placement` is the affine map between them, so that
any sequence of steps is read from the image in one resampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from selfsight.views.chance import happens, uniform

TRIES = 10


@dataclass(frozen=True)
class Placement:
    """The view's point `o` shows the image's point `centre + axes @ o`.

    centre: `(n, d)`, axes: `(n, d, d)`, in pixels of the image, axes ordered as in the tensor.
    """

    centre: Tensor
    axes: Tensor

    def __getitem__(self, rows: slice) -> Placement:
        return Placement(self.centre[rows], self.axes[rows])

    def to(self, device: torch.device) -> Placement:
        return Placement(self.centre.to(device), self.axes.to(device))


def box(centre: Tensor, sizes: Tensor) -> Placement:
    """A view of the upright box with `sizes` `(n, d)` around `centre` `(n, d)`."""
    return Placement(centre, torch.diag_embed(sizes / 2))


class Crop(Protocol):
    """Chooses the box of a view."""

    def sample(self, n: int, generator: torch.Generator, extent: Tensor) -> Placement: ...


class Step(Protocol):
    """Moves a view that is already placed."""

    @property
    def upright(self) -> bool:
        """Whether an upright box stays one, so that the faster resampling may be used."""
        ...

    def sample(self, n: int, generator: torch.Generator, placement: Placement) -> Placement: ...


@dataclass(frozen=True)
class RandomResizedCrop:
    """A box of random area and shape inside the image, as torchvision's.

    The area is uniform in `scale` and the ratio of width to height log-uniform in `ratio`;
    of ten tries the first that fits counts, else the largest central box of allowed shape.
    In 3-D `scale` is the volume, and `ratio` that of height and of width to depth.
    whole: whether the box begins and ends between pixels, as torchvision's does; else it may anywhere.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    whole: bool = False

    def sample(self, n: int, generator: torch.Generator, extent: Tensor) -> Placement:
        dims = extent.shape[1]
        area = uniform((n, TRIES, 1), generator, *self.scale).to(extent.device)
        logs = uniform((n, TRIES, dims), generator, *map(math.log, self.ratio)).to(extent.device)
        corner = uniform((n, dims), generator).to(extent.device)
        logs[..., 0] = 0
        sides = extent.to(torch.float32)
        tries = (area * sides.prod(1).view(-1, 1, 1)) ** (1 / dims) * (logs - logs.mean(-1, keepdim=True)).exp()
        fits = (tries <= sides[:, None]).all(-1)
        first = fits.int().argmax(1).view(-1, 1, 1).expand(-1, 1, dims)
        chosen = tries.gather(1, first).squeeze(1)
        found = fits.any(1)[:, None]
        sizes = torch.where(found, chosen, self._largest(sides))
        corner = torch.where(found, corner, 0.5)
        if self.whole:
            sizes = sizes.round().clamp_min(1)
            corner = (corner * (sides - sizes + 1)).floor().minimum(sides - sizes)
        else:
            corner = corner * (sides - sizes)
        return box(corner + sizes / 2, sizes)

    def _largest(self, sides: Tensor) -> Tensor:
        low, high = self.ratio
        shape = (sides / sides[:, :1]).clamp(low, high)
        shape[:, 0] = 1
        return shape * (sides / shape).amin(1, keepdim=True)


@dataclass(frozen=True)
class CentreCrop:
    """The largest undistorted central box: the short side fits, as in evaluation.

    aspect: the view's sizes along each axis, or any multiple of them; None for equal sides.
    """

    aspect: tuple[float, ...] | None = None

    def is_whole(self, sides: tuple[int, ...]) -> bool:
        """Whether the box is the whole image, where that has these `sides`."""
        return len({side / along for side, along in zip(sides, self.aspect or (1,) * len(sides), strict=True)}) == 1

    def sample(self, n: int, generator: torch.Generator, extent: Tensor) -> Placement:
        sides = extent.to(torch.float32)
        aspect = torch.ones_like(sides[:1]) if self.aspect is None else sides.new_tensor([self.aspect])
        return box(sides / 2, aspect * (sides / aspect).amin(1, keepdim=True))


@dataclass(frozen=True)
class Whole:
    """The whole image, whatever its shape."""

    def sample(self, n: int, generator: torch.Generator, extent: Tensor) -> Placement:
        sides = extent.to(torch.float32)
        return box(sides / 2, sides)


@dataclass(frozen=True)
class Flip:
    """A mirror image along `axis` with probability `p`."""

    p: float = 0.5
    axis: int = -1
    upright = True

    def sample(self, n: int, generator: torch.Generator, placement: Placement) -> Placement:
        sign = 1 - 2 * happens(n, self.p, generator).to(placement.axes)
        axes = placement.axes.clone()
        axes[:, :, self.axis] *= sign[:, None]
        return Placement(placement.centre, axes)


@dataclass(frozen=True)
class Affine:
    """A rotation about the view's centre and a shift, each uniform up to its largest value.

    rotate: degrees; in 3-D one such angle about each axis in turn.
    shift: fraction of the view, along each of its axes.
    """

    rotate: float = 0.0
    shift: float = 0.0

    @property
    def upright(self) -> bool:
        return self.rotate == 0

    def sample(self, n: int, generator: torch.Generator, placement: Placement) -> Placement:
        dims = placement.centre.shape[1]
        shift = uniform((n, dims, 1), generator, -2 * self.shift, 2 * self.shift).to(placement.centre)
        planes = [(a, b) for a in range(dims) for b in range(a + 1, dims)]
        angles = uniform((n, len(planes)), generator, -math.radians(self.rotate), math.radians(self.rotate))
        axes = placement.axes
        if self.rotate:
            for plane, angle in zip(planes, angles.to(axes).unbind(1), strict=True):
                axes = rotation(angle, plane, dims) @ axes
        return Placement(placement.centre + (axes @ shift).squeeze(-1), axes)


def rotation(angle: Tensor, plane: tuple[int, int], dims: int) -> Tensor:
    """`(n, dims, dims)` rotations by `angle` `(n,)` radians in the plane of two axes."""
    a, b = plane
    matrix = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    matrix[:, a, a] = matrix[:, b, b] = angle.cos()
    matrix[:, a, b] = angle.sin()
    matrix[:, b, a] = -angle.sin()
    return matrix


@dataclass(frozen=True)
class Geometry:
    """A crop and the steps that follow it, composed into one placement."""

    crop: Crop
    steps: tuple[Step, ...] = ()

    @property
    def upright(self) -> bool:
        """Whether every view is an upright box, mirrored or not."""
        return all(step.upright for step in self.steps)

    @property
    def of_whole_pixels(self) -> bool:
        """Whether every view is an upright box that begins and ends between pixels, mirrored or not."""
        whole = isinstance(self.crop, RandomResizedCrop) and self.crop.whole
        return whole and all(isinstance(step, Flip) for step in self.steps)

    def is_whole(self, sides: tuple[int, ...]) -> bool:
        """Whether every view is the whole image as it lies, where that has these `sides`."""
        return isinstance(self.crop, CentreCrop) and not self.steps and self.crop.is_whole(sides)

    def sample(self, n: int, generator: torch.Generator, extent: Tensor) -> Placement:
        """Placements of `n` views in images that fill `extent` `(n, d)`, on extent's device."""
        placement = self.crop.sample(n, generator, extent)
        for step in self.steps:
            placement = step.sample(n, generator, placement)
        return placement
